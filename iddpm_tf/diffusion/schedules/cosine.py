"""The cosine noise schedule."""

import numpy as np

from iddpm_tf import registries
from iddpm_tf.diffusion.schedules import base

# Eq. 17. The offset s keeps sqrt(beta_0) just below the size of a pixel's bin, 1/127.5.
OFFSET = 0.008
MAX_BETA = 0.999


@registries.NOISE_SCHEDULES.register("cosine")
class CosineSchedule(base.Schedule):
  """The cosine schedule (Eq. 17)."""

  def betas(self, steps: int) -> np.ndarray:
    """Returns the betas of Eq. 17, each at most 0.999: float64 `[steps]`."""
    time = np.arange(steps + 1, dtype=np.float64) / steps
    alphas_cumprod = np.cos((time + OFFSET) / (1 + OFFSET) * np.pi / 2) ** 2
    return np.minimum(1 - alphas_cumprod[1:] / alphas_cumprod[:-1], MAX_BETA)
