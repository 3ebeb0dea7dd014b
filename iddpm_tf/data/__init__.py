"""Where images come from, and what becomes of them on the way to the network and back."""
