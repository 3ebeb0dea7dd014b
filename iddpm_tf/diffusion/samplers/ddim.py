"""DDIM and its reverse (Song et al., 2020, "Denoising diffusion implicit models")."""

import dataclasses

import numpy as np
import tensorflow as tf

from iddpm_tf import registries
from iddpm_tf import settings
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion import respacing
from iddpm_tf.diffusion.process import at
from iddpm_tf.diffusion.samplers import base


@registries.SAMPLERS.register("ddim")
@dataclasses.dataclass(frozen=True)
class DDIM(base.Sampler):
  """Draws x_{t-1} by Eq. 12 and 16 of Song et al. (2020), from the predicted x_0."""

  name = "ddim"

  eta: float = 0.0  # 0 is deterministic. 1 is as noisy as ancestral sampling.

  def __post_init__(self) -> None:
    """Checks the fields."""
    super().__post_init__()
    settings.require(0 <= self.eta <= 1, "samplers", "eta in [0, 1]", self.eta)

  @property
  def is_stochastic(self) -> bool:
    """Whether `step` uses its noise."""
    return self.eta > 0

  def timesteps(self, num_timesteps: int) -> np.ndarray:
    """Returns timesteps at a constant integer stride from t = 0 (section 4)."""
    return respacing.space_timesteps(
      num_timesteps, "" if self.steps is None else f"ddim{self.steps}"
    )

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
    alpha, alpha_prev = at(process.alphas_cumprod, t), at(process.alphas_cumprod_prev, t)
    sigma = self.eta * tf.sqrt((1 - alpha_prev) / (1 - alpha)) * tf.sqrt(1 - alpha / alpha_prev)
    # Rounding can make it negative where sigma^2 is all of the variance.
    direction = tf.sqrt(tf.maximum(1 - alpha_prev - tf.square(sigma), 0.0))
    return tf.sqrt(alpha_prev) * prediction.x_start + direction * eps + sigma * noise


def reverse_step(
  diffusion: gaussian_diffusion.GaussianDiffusion,
  prediction: gaussian_diffusion.Prediction,
  x_t: tf.Tensor,
  t: tf.Tensor,
) -> tf.Tensor:
  """Returns x_{t+1}, `[B, H, W, C]`: `DDIM.step` with eta = 0 and time reversed."""
  process = diffusion.process
  eps = process.eps_from_x_start(x_t, t, prediction.x_start)
  alpha_next = at(process.alphas_cumprod_next, t)
  return tf.sqrt(alpha_next) * prediction.x_start + tf.sqrt(1 - alpha_next) * eps
