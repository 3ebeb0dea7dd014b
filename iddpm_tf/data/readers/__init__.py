"""Readers of data sets. Each lists the pictures of one kind of data, and none decodes them."""
