"""Improved Denoising Diffusion Probabilistic Models (Nichol and Dhariwal, 2021) in TensorFlow and Keras 3."""

__version__ = "0.1.0"
