"""Helpers of every other package: whole files, progress, the host and its devices."""
