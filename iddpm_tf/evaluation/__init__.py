"""Evaluation: likelihoods, and scores of samples by features of images."""
