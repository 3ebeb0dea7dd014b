"""The experiments: a module each.

Each has `needs(scale)`, the measurements it is made of, and `show(scale, output)`, its `sections.Section` of their
results in the folder `output`.
"""
