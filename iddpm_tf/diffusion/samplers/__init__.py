"""Samplers, one module each; `base` says what a sampler is, and `loop` runs one."""
