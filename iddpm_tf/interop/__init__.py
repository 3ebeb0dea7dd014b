"""Weights from and to the PyTorch code of the paper's authors (openai/improved-diffusion)."""
