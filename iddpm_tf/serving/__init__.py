"""Samplers as graphs that a server, a command and training's grids all run."""
