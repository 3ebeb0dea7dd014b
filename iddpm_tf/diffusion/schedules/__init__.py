"""Noise schedules, one module each."""
