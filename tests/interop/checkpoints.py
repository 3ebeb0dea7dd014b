"""A small network of the authors' code, and random weights for it."""

import numpy as np

from iddpm_tf.interop import architecture

TINY = architecture.Architecture(
  base_channels=32,
  num_classes=0,
  enlarges=False,
  channel_multipliers=(1,),
  num_res_blocks=1,
  attention_levels=frozenset(),
  scale_shift_norm=True,
  conv_resample=True,
  learns_variance=True,
  image_channels=1,
)
# The settings of a model with this network.
SETTINGS = {
  "image_size": 8,
  "base_channels": 32,
  "channel_multipliers": (1,),
  "num_res_blocks": 1,
  "attention_resolutions": (),
  "diffusion_steps": 25,
  "samplers": ("ddim:2",),
  "ema": (0.9999, 0.5),
}


def random_weights(shapes):
  """Returns small normal numbers for each parameter, float32."""
  rng = np.random.default_rng(0)
  return {
    name: (0.1 * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()
  }
