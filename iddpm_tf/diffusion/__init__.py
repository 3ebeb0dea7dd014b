"""The mathematics of diffusion (sections 2 to 4). A network is a function `model_fn(x_t, t)` here."""
