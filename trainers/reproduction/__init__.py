"""The work of `trainers.reproduce`: runs, measurements of them, experiments, claims, and the report."""
