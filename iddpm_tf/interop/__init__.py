"""Weights from and to the PyTorch code of the papers' authors."""
