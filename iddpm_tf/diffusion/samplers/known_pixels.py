"""Drawing beside what is known: the pixels of a picture, or the picture at a noise level."""

from collections.abc import Callable
import dataclasses

import numpy as np
import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.diffusion.process import value_at


@dataclasses.dataclass(frozen=True)
class Resampling:
  """Going back to more noise and drawing again, so that new pixels fit the known ones.

  RePaint (Lugmayr et al., 2022, Algorithm 1 and Appendix B).

  Attributes:
    times: how often each stretch of timesteps is drawn; 1 never goes back.
    length: the number of timesteps to go back.
  """

  times: int = 1
  length: int = 10

  def __post_init__(self) -> None:
    """Checks the fields."""
    settings.require_count("resample_times", self.times)
    settings.require_count("resample_length", self.length)

  def schedule(self, count: int) -> np.ndarray:
    """Returns the timestep of each evaluation of the network, int `[K]`.

    Args:
      count: the number of timesteps, each of which is evaluated once without resampling.
    """
    left = dict.fromkeys(range(0, count - self.length, self.length), self.times - 1)
    t = count - 1
    timesteps = [t]
    while t > 0:
      t -= 1
      if left.get(t, 0):
        left[t] -= 1
        t += self.length
      timesteps.append(t)
    return np.array(timesteps)


NO_RESAMPLING = Resampling()


@dataclasses.dataclass(frozen=True)
class Known:
  """Holds what is known of each image of a batch.

  Attributes:
    image: `[B, H, W, C]` in [-1, 1].
    drawn: which pixels are drawn, bool `[B, H, W, 1]`. The others keep their values.
    strength: the share of the steps with which each image is drawn, float32 `[B]` in (0, 1].
      Drawing begins with the picture and the noise of that step; 1 begins with noise alone.
    noise_fn: standard normal noise `[B, H, W, C]` of an int32 scalar, other than that of the loop.
    resampling: how often drawing goes back.
  """

  image: tf.Tensor
  drawn: tf.Tensor
  strength: tf.Tensor
  noise_fn: Callable[[tf.Tensor], tf.Tensor]
  resampling: Resampling = NO_RESAMPLING


class KnownPixels:
  """Puts what is known into each x_t of a loop, with the noise that belongs to t.

  The noise is new at every evaluation, as in RePaint (Lugmayr et al., 2022, Eq. 8).

  Attributes:
    schedule: the timestep of each evaluation of the loop, int `[K]`.
  """

  def __init__(
    self,
    known: Known,
    process: process_lib.GaussianProcess,
    schedule: np.ndarray,
    starts: np.ndarray,
  ):
    """Prepares the noise levels.

    Args:
      known: what is known.
      process: the process on the sampler's timesteps.
      schedule: the timestep of each evaluation of the sampler, int `[K]`.
      starts: the number of the first evaluation of each of its steps, int `[steps]`.
    """
    self._known = known
    self.schedule = schedule
    if known.resampling.times > 1:
      self.schedule = known.resampling.schedule(process.num_timesteps)
      starts = np.array([np.argmax(self.schedule == t) for t in schedule])
    # Of x before each evaluation, and of the image at the end: [K + 1].
    self._alphas_cumprod = np.append(process.alphas_cumprod[self.schedule], 1.0)
    # Of x after each evaluation: [K].
    self._ends = process.alphas_cumprod_prev[self.schedule]
    steps = len(starts)
    taken = tf.clip_by_value(tf.cast(tf.round(known.strength * steps), tf.int32), 1, steps)
    # The number of the evaluation with which each image begins, int32 [B].
    self._begin = tf.gather(tf.constant(starts, tf.int32), steps - taken)

  def first(self) -> tf.Tensor:
    """Returns the number of the first evaluation that an image needs, int32 `[]`."""
    return tf.reduce_min(self._begin)

  def has_begun(self, k: tf.Tensor) -> tf.Tensor:
    """Returns which images begin with evaluation k or before, bool `[B, 1, 1, 1]`."""
    return (self._begin <= k)[:, None, None, None]

  def begin(self, noise: tf.Tensor, k: tf.Tensor) -> tf.Tensor:
    """Returns x before evaluation k, the first of the loop.

    Args:
      noise: x_T, `[B, H, W, C]`.
      k: the number of the evaluation, int32 `[]`.
    """
    from_noise = self._known.drawn & (self._known.strength >= 1.0)[:, None, None, None]
    return tf.where(from_noise, noise, self._picture(k))

  def replace(self, x: tf.Tensor, k: tf.Tensor) -> tf.Tensor:
    """Returns x with what is known before evaluation k + 1, or in the image after the last one.

    Args:
      x: what the sampler made of evaluation k, `[B, H, W, C]`.
      k: the number of the evaluation, int32 `[]`.
    """
    return tf.where(self._known.drawn & self.has_begun(k), x, self._picture(k + 1))

  def go_back(self, x: tf.Tensor, k: tf.Tensor) -> tf.Tensor:
    """Returns x with the noise between the end of evaluation k and the start of the next one.

    Args:
      x: what the sampler made of evaluation k, `[B, H, W, C]`.
      k: the number of the evaluation, int32 `[]`.
    """
    if self._known.resampling.times == 1:
      return x
    kept = self._alphas_cumprod[1:] / self._ends
    # Mostly, the next evaluation is where this one ends.
    kept[np.append(np.diff(self.schedule) == -1, True)] = 1.0
    # The numbers up to K are those of the picture's noise.
    noise = self._known.noise_fn(k + len(self.schedule) + 1)
    return value_at(np.sqrt(kept), k) * x + value_at(np.sqrt(1 - kept), k) * noise

  def _picture(self, k: tf.Tensor) -> tf.Tensor:
    """Returns the picture with the noise that x has before evaluation k."""
    alpha = self._alphas_cumprod
    noise = self._known.noise_fn(k)
    return value_at(np.sqrt(alpha), k) * self._known.image + value_at(np.sqrt(1 - alpha), k) * noise
