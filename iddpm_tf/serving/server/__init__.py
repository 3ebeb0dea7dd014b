"""A small server with TensorFlow Serving's protocol, for development on a trusted network."""
