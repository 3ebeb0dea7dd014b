"""Training: one replica's step, the state of a run, the loop, and what it reports."""
