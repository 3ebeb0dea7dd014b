"""Ancestral sampling (section 4)."""

import dataclasses

import tensorflow as tf

from iddpm_tf import registries
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion.samplers import base


@registries.SAMPLERS.register("ancestral")
@dataclasses.dataclass(frozen=True)
class Ancestral(base.Sampler):
  """Draws x_{t-1} from p(x_{t-1} | x_t)."""

  name = "ancestral"
  guides_mean = True

  def step(
    self,
    diffusion: gaussian_diffusion.GaussianDiffusion,
    prediction: gaussian_diffusion.Prediction,
    x_t: tf.Tensor,
    t: tf.Tensor,
    noise: tf.Tensor,
  ) -> tf.Tensor:
    """Returns mean + sigma * noise."""
    del diffusion, x_t, t  # The prediction says all.
    return prediction.mean + tf.exp(0.5 * prediction.log_variance) * noise
