"""The mathematics of diffusion (sections 2 to 4), which knows a network only as a function."""
