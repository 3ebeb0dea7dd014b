"""A noising process and the reverse process that a network describes: Eq. 3, 13 and 15."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.diffusion.process import at
from iddpm_tf.diffusion.schedules import base as schedules

# The network as the diffusion knows it: `model_fn(x_t, t) -> output`. `x_t` is float32
# [B, H, W, C]. `t` is float32 [B], as `GaussianProcess.network_timesteps` gives it. The output is
# [B, H, W, C], or [B, H, W, 2 C] with the variance's values second where the variance is learned.
ModelFn = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Prediction(NamedTuple):
  """The reverse process at one timestep, as a network's output describes it."""

  mean: tf.Tensor  # Of p(x_{t-1} | x_t), [B, H, W, C].
  log_variance: tf.Tensor  # Broadcasts against the mean.
  x_start: tf.Tensor  # The predicted x_0, [B, H, W, C].


class GaussianDiffusion(tf.Module):
  """A noising process and the meaning of a network's output.

  It stores no network: functions of the diffusion take the network's output, or a `ModelFn`.

  Attributes:
    process: the `GaussianProcess` q.
    config: the `DiffusionConfig`, which says what the network predicts.
  """

  def __init__(self, process: process_lib.GaussianProcess, config: config_lib.DiffusionConfig):
    super().__init__(name="gaussian_diffusion")
    self.process, self.config = process, config

  @property
  def num_timesteps(self) -> int:
    """The number of timesteps that the process keeps."""
    return self.process.num_timesteps

  def respaced(self, timesteps: np.ndarray) -> "GaussianDiffusion":
    """Returns the diffusion on a subset of the original timesteps, int `[num_timesteps]`."""
    return GaussianDiffusion(self.process.respaced(timesteps), self.config)

  def predict(
    self,
    output: tf.Tensor,
    x_t: tf.Tensor,
    t: tf.Tensor,
    *,
    clip: bool,
    constrain: Callable[[tf.Tensor], tf.Tensor] | None = None,
  ) -> Prediction:
    """Returns p(x_{t-1} | x_t) of a network's output.

    Args:
      output: the network's output, `[B, H, W, C or 2 C]`.
      x_t: `[B, H, W, C]`.
      t: timesteps of the process, int32 `[B]`.
      clip: whether to clip the predicted x_0 to [-1, 1].
      constrain: maps the predicted x_0 to the nearest image that agrees with what is known of it.
    """
    mean_output, variance_output = self.split_output(output)
    x_start = self._x_start(mean_output, x_t, t)
    if clip:
      x_start = tf.clip_by_value(x_start, -1.0, 1.0)
    if constrain:
      x_start = constrain(x_start)
    if self.config.mean_type == "x_prev" and not constrain:
      mean = mean_output
    else:
      mean = self.process.q_posterior(x_start, x_t, t).mean
    return Prediction(mean, self._log_variance(variance_output, t), x_start)

  def split_output(self, output: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Splits a network's output into the parts for the mean and for the variance.

    The second part is None where the variance is fixed.
    """
    if not self.config.learns_variance:
      return output, None
    mean_output, variance_output = tf.split(output, 2, axis=-1)
    return mean_output, variance_output

  def _x_start(self, mean_output: tf.Tensor, x_t: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    if self.config.mean_type == "eps":
      return self.process.x_start_from_eps(x_t, t, mean_output)
    if self.config.mean_type == "x_prev":
      return self.process.x_start_from_x_prev(x_t, t, mean_output)
    return mean_output

  def _log_variance(self, variance_output: tf.Tensor | None, t: tf.Tensor) -> tf.Tensor:
    if variance_output is not None and self.config.variance_type == "learned":
      return variance_output
    lower = at(self.process.posterior_log_variance_clipped, t)
    if variance_output is None:
      small = self.config.variance_type == "fixed_small"
      return lower if small else at(self.process.large_log_variance, t)
    # Eq. 15. The network's output is 2 v - 1, which begins at 0, the middle of the range.
    v = (variance_output + 1.0) / 2.0
    return v * at(np.log(self.process.betas), t) + (1.0 - v) * lower


def make_diffusion(config: config_lib.DiffusionConfig) -> GaussianDiffusion:
  """Returns the diffusion of a configuration, on all of its timesteps."""
  betas = schedules.make_betas(config.noise_schedule, config.diffusion_steps)
  process = process_lib.GaussianProcess(betas, rescale_timesteps=config.rescale_timesteps)
  return GaussianDiffusion(process, config)
