"""Heun's method with added noise, EDM's stochastic sampler (Karras et al., 2022, Algorithm 2)."""

import dataclasses
import math

import numpy as np

from iddpm_tf import registries
from iddpm_tf import settings
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion.samplers import heun
from iddpm_tf.diffusion.samplers import linear
from iddpm_tf.diffusion.samplers import spacing


@registries.SAMPLERS.register("heun_churn")
@dataclasses.dataclass(frozen=True)
class HeunChurn(heun.Heun):
  """Adds noise before each step of Heun's method, so that it begins at a higher noise level.

  As in EDM for networks of discrete timesteps, that level is rounded to the one of the nearest
  timestep. The defaults are EDM's for ImageNet-64.
  """

  name = "heun_churn"

  churn: float = 40.0  # S_churn, the amount of noise in all steps.
  min_level: float = 0.05  # S_min, the smallest noise level at which noise is added.
  max_level: float = 50.0  # S_max, the largest one.
  noise_scale: float = 1.003  # S_noise.

  def __post_init__(self) -> None:
    """Checks the fields."""
    super().__post_init__()
    values = (self.churn, self.min_level, self.max_level, self.noise_scale)
    settings.require(
      all(map(math.isfinite, values)),
      "samplers",
      "finite S_churn, S_min, S_max and S_noise",
      values,
    )
    settings.require(self.churn >= 0, "samplers", "S_churn of 0 or more", self.churn)
    settings.require(
      0 <= self.min_level <= self.max_level,
      "samplers",
      "noise levels S_min and S_max in increasing order",
      (self.min_level, self.max_level),
    )
    settings.require(self.noise_scale > 0, "samplers", "S_noise above 0", self.noise_scale)

  @property
  def is_stochastic(self) -> bool:
    """Whether a step uses its noise."""
    return self.churn > 0

  def respace(
    self, diffusion: gaussian_diffusion.GaussianDiffusion
  ) -> gaussian_diffusion.GaussianDiffusion:
    """Returns a diffusion on the timesteps of the steps, and on those to which noise leads.

    Raises:
      InputError: the process has too few timesteps.
    """
    kept = self.timesteps(diffusion)
    return diffusion.respaced(np.union1d(kept, self._raised(diffusion, kept)))

  def steps_of(
    self, diffusion: gaussian_diffusion.GaussianDiffusion
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns the timesteps at which each step begins and ends, int `[steps]`; -1 is x_0."""
    kept = self.timesteps(diffusion)
    begins, levels = (
      np.searchsorted(diffusion.process.timestep_map, each)[::-1]
      for each in (self._raised(diffusion, kept), kept)
    )
    return begins, np.append(levels[1:], -1)

  def coefficients(self, diffusion: gaussian_diffusion.GaussianDiffusion) -> linear.Coefficients:
    """Returns the factors of Algorithm 2. Each correction is followed by the next step's noise."""
    table = super().coefficients(diffusion)
    begins, ends = self.steps_of(diffusion)
    alphas_cumprod = diffusion.process.alphas_cumprod
    for i in range(len(begins) - 1):
      k = 2 * i + 1
      kept = alphas_cumprod[begins[i + 1]] / alphas_cumprod[ends[i]]
      for factors in (table.x, table.x_start, table.kept_x, table.kept_x_start):
        factors[k] *= math.sqrt(kept)
      table.noise[k] = self.noise_scale * math.sqrt(1 - kept)
    return table

  def _raised(
    self, diffusion: gaussian_diffusion.GaussianDiffusion, kept: np.ndarray
  ) -> np.ndarray:
    """Returns the timestep at which each step begins after its noise, int32 `[steps]`.

    The first step begins with noise alone, to which none is added.
    """
    levels = spacing.noise_levels(diffusion.process.original_alphas_cumprod)
    gamma = min(self.churn / len(kept), math.sqrt(2) - 1)
    raised = kept.copy()
    for i, t in enumerate(kept[:-1]):
      if self.min_level <= levels[t] <= self.max_level:
        nearest = int(np.argmin(np.abs(levels - levels[t] * (1 + gamma))))
        # No step begins above the first one.
        raised[i] = min(max(nearest, t), kept[-1])
    return raised
