"""Data: where images come from, how they are decoded and prepared, and how they are shown."""
