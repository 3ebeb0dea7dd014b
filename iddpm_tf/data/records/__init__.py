"""Records: decoded pictures in files that training maps into memory."""
