"""Trained models: the model folder, checkpoints, loading, and drawing images."""
