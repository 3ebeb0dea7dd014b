"""Readers of data sets: each lists the pictures of one kind of source, and none decodes them."""
