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
  free_x_start: tf.Tensor  # The same before it was clipped or constrained.
  v: tf.Tensor | None  # The variance's place in its range (Eq. 15), nominally in [0, 1], or None.


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
    dynamic_threshold: float = 0.0,
    constrain: Callable[[tf.Tensor], tf.Tensor] | None = None,
  ) -> Prediction:
    """Returns p(x_{t-1} | x_t) of a network's output.

    Args:
      output: the network's output, `[B, H, W, C or 2 C]`.
      x_t: `[B, H, W, C]`.
      t: timesteps of the process, int32 `[B]`.
      clip: whether to clip the predicted x_0 to [-1, 1].
      dynamic_threshold: the quantile of `scale_into_range`, in place of clipping; 0 for none.
      constrain: maps the predicted x_0 to the nearest image that agrees with what is known of it.
    """
    mean_output, variance_output = self.split_output(output)
    free_x_start = x_start = self._x_start(mean_output, x_t, t)
    if dynamic_threshold:
      x_start = scale_into_range(x_start, dynamic_threshold)
    elif clip:
      x_start = tf.clip_by_value(x_start, -1.0, 1.0)
    if constrain:
      x_start = constrain(x_start)
    if self.config.mean_type == "x_prev" and not constrain:
      mean = mean_output
    else:
      mean = self.process.q_posterior(x_start, x_t, t).mean
    v = self._v(variance_output)
    log_variance = self._log_variance(variance_output, v, t)
    return Prediction(mean, log_variance, x_start, free_x_start, v)

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

  def _v(self, variance_output: tf.Tensor | None) -> tf.Tensor | None:
    if variance_output is None or self.config.variance_type != "learned_range":
      return None
    # The network's output is 2 v - 1, which begins at 0, the middle of the range.
    return (variance_output + 1.0) / 2.0

  def _log_variance(
    self, variance_output: tf.Tensor | None, v: tf.Tensor | None, t: tf.Tensor
  ) -> tf.Tensor:
    if variance_output is not None and v is None:
      return variance_output
    lower = at(self.process.posterior_log_variance_clipped, t)
    if v is None:
      small = self.config.variance_type == "fixed_small"
      return lower if small else at(self.process.large_log_variance, t)
    return v * at(np.log(self.process.betas), t) + (1.0 - v) * lower  # Eq. 15.


def scale_into_range(x_start: tf.Tensor, quantile: float) -> tf.Tensor:
  """Returns images in [-1, 1] by dynamic thresholding (Saharia et al., 2022, section 2.3).

  Each image is clipped to [-s, s] and divided by s, the quantile of its absolute values. Where s is
  below 1, the image is clipped to [-1, 1].

  Args:
    x_start: predicted x_0, `[B, H, W, C]`.
    quantile: a number in (0, 1], such as 0.995.
  """
  shape = tf.shape(x_start)
  magnitudes = tf.sort(tf.reshape(tf.abs(x_start), [shape[0], -1]))  # [B, H W C]
  last = tf.shape(magnitudes)[1] - 1
  # Linear between the two nearest values, as NumPy has it.
  position = quantile * tf.cast(last, tf.float64)
  below = tf.cast(tf.floor(position), tf.int32)
  weight = tf.cast(position - tf.floor(position), x_start.dtype)
  low, high = (
    tf.gather(magnitudes, index, axis=1) for index in (below, tf.minimum(below + 1, last))
  )
  s = tf.maximum(low + weight * (high - low), 1.0)[:, None, None, None]  # [B, 1, 1, 1]
  return tf.clip_by_value(x_start, -s, s) / s


def make_diffusion(config: config_lib.DiffusionConfig) -> GaussianDiffusion:
  """Returns the diffusion of a configuration, on all of its timesteps."""
  betas = schedules.make_betas(config.noise_schedule, config.diffusion_steps)
  process = process_lib.GaussianProcess(betas, rescale_timesteps=config.rescale_timesteps)
  return GaussianDiffusion(process, config)
