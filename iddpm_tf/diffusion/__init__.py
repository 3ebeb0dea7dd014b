"""The mathematics of diffusion (sections 2 to 4), which knows a network as `model_fn(x_t, t)`."""
