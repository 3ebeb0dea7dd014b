"""DPM-Solver++(2S), a singlestep solver of second order (Lu et al., 2022, arXiv:2211.01095)."""

import dataclasses

import numpy as np

from iddpm_tf import registries
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion.samplers import linear


@registries.SAMPLERS.register("dpmpp_2s")
@dataclasses.dataclass(frozen=True)
class DPMSolverPP2S(linear.LinearSampler):
  """Makes a step of second order of two timesteps: the network is also evaluated between its ends.

  The last timestep, or the last two for an even number, are steps of first order, since the final
  step to x_0 has no timestep in between.
  """

  name = "dpmpp_2s"
  own_spacing = "logsnr"
  least_steps = 3

  @property
  def is_stochastic(self) -> bool:
    """Whether a step uses its noise."""
    return False

  def starts(self, diffusion: gaussian_diffusion.GaussianDiffusion) -> np.ndarray:
    """Returns the number of the first evaluation of each step, int `[steps]`."""
    pairs = (diffusion.num_timesteps - 1) // 2
    return np.append(2 * np.arange(pairs), np.arange(2 * pairs, diffusion.num_timesteps))

  def coefficients(self, diffusion: gaussian_diffusion.GaussianDiffusion) -> linear.Coefficients:
    """Returns the factors of Algorithm 1, each pair of timesteps being one of its steps."""
    levels = linear.Levels.of_process(diffusion.process)
    count = diffusion.num_timesteps
    table = linear.Coefficients.zeros(count)
    for k in range(count):
      table.set_exponential_step(k, levels, k, k + 1)
    log_snr = levels.half_log_snr
    for start in range(0, count - 2, 2):
      middle, end = start + 1, start + 2
      table.keeps[start] = True
      # From the start to the end, with both predictions.
      gain = table.set_exponential_step(middle, levels, start, end)
      weight = (log_snr[end] - log_snr[start]) / (2 * (log_snr[middle] - log_snr[start]))
      table.kept_x[middle], table.x[middle] = table.x[middle], 0.0
      table.x_start[middle] = gain * weight
      table.kept_x_start[middle] = gain * (1 - weight)
    return table
