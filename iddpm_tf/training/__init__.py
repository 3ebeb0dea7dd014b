"""One training step of one replica, and everything that a checkpoint holds."""
