"""A small server of TensorFlow Serving's protocol for machines without it: for development, not for the open."""
