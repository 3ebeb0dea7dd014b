"""The negative log-likelihood of images: the variational bound in full, and an estimate of it."""
