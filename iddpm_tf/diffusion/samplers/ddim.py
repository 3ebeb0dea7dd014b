"""DDIM and its reverse (Song et al., 2020, "Denoising diffusion implicit models")."""

import dataclasses

import numpy as np
import tensorflow as tf

from iddpm_tf import registries
from iddpm_tf import settings
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion.process import at
from iddpm_tf.diffusion.samplers import base


@registries.SAMPLERS.register("ddim")
@dataclasses.dataclass(frozen=True)
class DDIM(base.Sampler):
  """Draws x_{t-1} by Eq. 12 and 16 of Song et al. (2020), from the predicted x_0."""

  name = "ddim"
  own_spacing = "stride"  # Section 4.

  eta: float = 0.0  # 0 is deterministic. 1 is as noisy as ancestral sampling.

  def __post_init__(self) -> None:
    """Checks the fields."""
    super().__post_init__()
    settings.require(0 <= self.eta <= 1, "samplers", "eta in [0, 1]", self.eta)

  @property
  def is_stochastic(self) -> bool:
    """Whether `step` uses its noise."""
    return self.eta > 0

  def step(
    self,
    diffusion: gaussian_diffusion.GaussianDiffusion,
    prediction: gaussian_diffusion.Prediction,
    x_t: tf.Tensor,
    t: tf.Tensor,
    noise: tf.Tensor,
  ) -> tf.Tensor:
    """Returns sqrt(alpha_prev) x_0 + sqrt(1 - alpha_prev - sigma^2) eps + sigma noise."""
    process = diffusion.process
    eps = process.eps_from_x_start(x_t, t, prediction.x_start)
    # Tables, float64 `[T]`, because differences of numbers near 1 lose digits.
    alpha, alpha_prev = process.alphas_cumprod, process.alphas_cumprod_prev
    sigma = self.eta * np.sqrt(process.posterior_variance)
    # 1 - alpha_prev - sigma^2, without the difference: with eta = 1 it may be almost 0.
    rest = alpha * (1 - alpha_prev) / (alpha_prev * (1 - alpha))
    direction = np.sqrt((1 - alpha_prev) * (1 - self.eta**2 + self.eta**2 * rest))
    x_prev = at(np.sqrt(alpha_prev), t) * prediction.x_start + at(direction, t) * eps
    return x_prev + at(sigma, t) * noise if self.is_stochastic else x_prev


def reverse_step(
  diffusion: gaussian_diffusion.GaussianDiffusion,
  prediction: gaussian_diffusion.Prediction,
  x_t: tf.Tensor,
  t: tf.Tensor,
) -> tf.Tensor:
  """Returns x_{t+1}, `[B, H, W, C]`: `DDIM.step` with eta = 0 and time reversed."""
  process = diffusion.process
  eps = process.eps_from_x_start(x_t, t, prediction.x_start)
  alpha_next = process.alphas_cumprod_next
  return at(np.sqrt(alpha_next), t) * prediction.x_start + at(np.sqrt(1 - alpha_next), t) * eps
