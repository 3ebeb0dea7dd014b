"""The parts of `trainers.reproduce`: tasks, executors, experiments, claims, and the report."""
