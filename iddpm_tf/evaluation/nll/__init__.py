"""The negative log-likelihood of images: its variational bound in full, and an estimate of it."""
