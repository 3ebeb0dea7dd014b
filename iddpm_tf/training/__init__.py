"""Training: one replica's step, the state that a checkpoint holds, the loop, and what it reports."""
