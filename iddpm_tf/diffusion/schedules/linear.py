"""The linear noise schedule."""

import numpy as np

from iddpm_tf import registries
from iddpm_tf import settings
from iddpm_tf.diffusion.schedules import base


@registries.NOISE_SCHEDULES.register("linear")
class LinearSchedule(base.Schedule):
  """The schedule of Ho et al. (2020), with its end points scaled by 1000/T (Appendix A)."""

  def betas(self, steps: int) -> np.ndarray:
    """Returns `steps` betas from 0.0001 to 0.02, times 1000/T: float64 `[steps]`."""
    scale = 1000 / steps
    settings.require(
      0.02 * scale < 1, "diffusion_steps", "more than 20 for the linear schedule", steps
    )
    return np.linspace(0.0001 * scale, 0.02 * scale, steps, dtype=np.float64)
