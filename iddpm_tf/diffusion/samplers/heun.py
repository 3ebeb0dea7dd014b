"""Heun's method of second order, as EDM samples (Karras et al., 2022, Algorithm 1)."""

import dataclasses

import numpy as np

from iddpm_tf import registries
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion.samplers import linear


@registries.SAMPLERS.register("heun")
@dataclasses.dataclass(frozen=True)
class Heun(linear.LinearSampler):
  """Makes a step of Euler's method, then repeats it with the mean of the slopes at both ends.

  N steps evaluate the network 2 N - 1 times, because the last step is one of Euler's.
  """

  name = "heun"
  own_spacing = "rho"
  least_steps = 2

  @property
  def is_stochastic(self) -> bool:
    """Whether a step uses its noise."""
    return False

  def num_evaluations(self, num_timesteps: int) -> int:
    """Returns how often it evaluates the network for a process of `num_timesteps`."""
    return 2 * self.num_steps(num_timesteps) - 1

  def schedule(self, diffusion: gaussian_diffusion.GaussianDiffusion) -> np.ndarray:
    """Returns the timestep of each evaluation: each step's start, then its end, int `[K]`."""
    begins, ends = self.steps_of(diffusion)
    return np.stack([begins, ends], axis=1).ravel()[:-1]  # The end of the last step is x_0.

  def starts(self, diffusion: gaussian_diffusion.GaussianDiffusion) -> np.ndarray:
    """Returns the number of the first evaluation of each step, int `[steps]`."""
    return 2 * np.arange(len(self.steps_of(diffusion)[0]))

  def steps_of(
    self, diffusion: gaussian_diffusion.GaussianDiffusion
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns the timesteps at which each step begins and ends, int `[steps]`; -1 is x_0."""
    begins = np.arange(diffusion.num_timesteps)[::-1]
    return begins, begins - 1

  def coefficients(self, diffusion: gaussian_diffusion.GaussianDiffusion) -> linear.Coefficients:
    """Returns the factors of Algorithm 1, with sigma as EDM has it, sigma / alpha here."""
    levels = linear.Levels.of_process(diffusion.process)
    begins, ends = self.steps_of(diffusion)
    table = linear.Coefficients.zeros(2 * len(begins) - 1)
    for i in range(len(begins)):
      # Levels run from the noisiest timestep to x_0, whose timestep is -1 here.
      start, end = (diffusion.num_timesteps - 1 - t[i] for t in (begins, ends))
      table.keeps[2 * i] = True
      table.set_exponential_step(2 * i, levels, start, end)  # Euler's, with another name.
      if i < len(begins) - 1:
        _set_correction(table, 2 * i + 1, levels, start, end)
    return table


def _set_correction(
  table: linear.Coefficients, k: int, levels: linear.Levels, start: int, end: int
) -> None:
  """Sets evaluation k, at the end of a step, to the step with the mean of both slopes.

  With y = x / alpha and the slopes d = (y - x_0) / sigma, it is
  y_end = y_start + h (d_start + d_end) / 2.
  """
  sigma = levels.noise_levels
  half_step = (sigma[end] - sigma[start]) / 2
  scale = levels.alphas[end]
  table.kept_x[k] = scale / levels.alphas[start] * (1 + half_step / sigma[start])
  table.kept_x_start[k] = -scale * half_step / sigma[start]
  table.x[k] = half_step / sigma[end]
  table.x_start[k] = -scale * half_step / sigma[end]
