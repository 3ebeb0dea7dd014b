"""Records: pictures that are decoded once, into arrays that training maps into memory."""
