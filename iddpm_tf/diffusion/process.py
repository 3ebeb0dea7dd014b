"""The noising process q: its tables, marginals, posterior and timesteps.

Images are float32 `[B, H, W, C]` in [-1, 1]. A timestep `t` is int32 `[B]` and 0-based: t = 0 is
one noising step.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from iddpm_tf import settings


class Moments(NamedTuple):
  """The mean and the log-variance of a Gaussian."""

  mean: tf.Tensor  # [B, H, W, C]
  log_variance: tf.Tensor  # [B, 1, 1, 1]


class GaussianProcess(tf.Module):
  """The distributions q(x_t | x_0) and q(x_{t-1} | x_t, x_0) of a noising process.

  A respaced process (Eq. 19) is an object of this class, too, with fewer rows in its tables and
  with a map to the original timesteps, which the network still sees. The tables are float64
  `[num_timesteps]` and have the field's names. Computation is in float32.
  """

  def __init__(
    self,
    betas: np.ndarray,
    timesteps: np.ndarray | None = None,
    *,
    rescale_timesteps: bool = True,
  ):
    """Computes the tables.

    Args:
      betas: the variances of the original process, `[T]`, each in (0, 1).
      timesteps: increasing 0-based timesteps to keep. None keeps all.
      rescale_timesteps: whether the network sees t * 1000 / T instead of t.

    Raises:
      InputError: wrong betas or timesteps.
    """
    super().__init__(name="gaussian_process")
    self.original_betas = np.asarray(betas, np.float64)
    self.rescale_timesteps = rescale_timesteps
    steps = len(self.original_betas)
    if not (steps and np.all(self.original_betas > 0) and np.all(self.original_betas < 1)):
      low, high = (f(self.original_betas, initial=np.nan) for f in (np.min, np.max))
      message = f"expected numbers in (0, 1), received {steps} numbers from {low:g} to {high:g}"
      raise settings.InputError("betas", message)
    kept = np.arange(steps) if timesteps is None else timesteps
    self.timestep_map = np.asarray(kept, np.int32)
    increasing = np.all(np.diff(self.timestep_map) > 0)
    in_range = self.timestep_map.size and 0 <= self.timestep_map[0] <= self.timestep_map[-1] < steps
    if not (increasing and in_range):
      message = f"expected increasing numbers in [0, {steps}), received {timesteps}"
      raise settings.InputError("timesteps", message)
    self.original_alphas_cumprod = np.cumprod(1 - self.original_betas)
    self._make_tables(self.original_alphas_cumprod[self.timestep_map])

  def _make_tables(self, alphas_cumprod: np.ndarray) -> None:
    """Computes everything that Eq. 9 to 13 need from alpha bar alone (Eq. 19)."""
    self.alphas_cumprod = alphas_cumprod
    self.alphas_cumprod_prev = np.append(1.0, alphas_cumprod[:-1])
    self.alphas_cumprod_next = np.append(alphas_cumprod[1:], 0.0)
    self.betas = 1 - alphas_cumprod / self.alphas_cumprod_prev
    # Eq. 10. The variance is 0 at t = 0, where the logarithm takes the value of t = 1 instead.
    self.posterior_variance = self.betas * (1 - self.alphas_cumprod_prev) / (1 - alphas_cumprod)
    first = self.posterior_variance[1] if self.num_timesteps > 1 else self.betas[0]
    self.posterior_log_variance_clipped = np.log(np.append(first, self.posterior_variance[1:]))
    # The larger fixed variance. At t = 0, betas would be too small for L_0, hence the same value.
    self.large_log_variance = np.log(np.append(first, self.betas[1:]))
    # Eq. 11.
    self.posterior_mean_coef1 = (
      self.betas * np.sqrt(self.alphas_cumprod_prev) / (1 - alphas_cumprod)
    )
    self.posterior_mean_coef2 = (
      (1 - self.alphas_cumprod_prev) * np.sqrt(1 - self.betas) / (1 - alphas_cumprod)
    )

  @property
  def num_timesteps(self) -> int:
    """The number of timesteps that this process keeps."""
    return len(self.timestep_map)

  @property
  def num_original_timesteps(self) -> int:
    """T, the number of timesteps of the original process."""
    return len(self.original_betas)

  @property
  def timestep_scale(self) -> float:
    """The factor by which the network sees original timesteps: 1000 / T if they are rescaled."""
    return 1000.0 / self.num_original_timesteps if self.rescale_timesteps else 1.0

  def respaced(self, timesteps: np.ndarray) -> "GaussianProcess":
    """Returns the process on a subset of the original timesteps, int `[num_timesteps]`."""
    return GaussianProcess(self.original_betas, timesteps, rescale_timesteps=self.rescale_timesteps)

  def network_timesteps(self, t: tf.Tensor) -> tf.Tensor:
    """Returns the original timesteps, perhaps scaled, as the network sees them: float32 `[B]`."""
    original = tf.cast(tf.gather(self.timestep_map, t), tf.float32)
    return original * self.timestep_scale if self.rescale_timesteps else original

  def q_moments(self, x_start: tf.Tensor, t: tf.Tensor) -> Moments:
    """Returns the moments of q(x_t | x_0), Eq. 8."""
    return Moments(
      at(np.sqrt(self.alphas_cumprod), t) * x_start, at(np.log1p(-self.alphas_cumprod), t)
    )

  def q_sample(self, x_start: tf.Tensor, t: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Returns x_t of x_0 and standard normal noise, Eq. 9."""
    return (
      at(np.sqrt(self.alphas_cumprod), t) * x_start
      + at(np.sqrt(1 - self.alphas_cumprod), t) * noise
    )

  def q_posterior(self, x_start: tf.Tensor, x_t: tf.Tensor, t: tf.Tensor) -> Moments:
    """Returns the moments of q(x_{t-1} | x_t, x_0), Eq. 10 to 12; the variance is clipped."""
    mean = at(self.posterior_mean_coef1, t) * x_start + at(self.posterior_mean_coef2, t) * x_t
    return Moments(mean, at(self.posterior_log_variance_clipped, t))

  def x_start_from_eps(self, x_t: tf.Tensor, t: tf.Tensor, eps: tf.Tensor) -> tf.Tensor:
    """Returns x_0 of x_t and the noise: Eq. 9, solved for x_0."""
    return (
      at(np.sqrt(1 / self.alphas_cumprod), t) * x_t
      - at(np.sqrt(1 / self.alphas_cumprod - 1), t) * eps
    )

  def x_start_from_x_prev(self, x_t: tf.Tensor, t: tf.Tensor, x_prev: tf.Tensor) -> tf.Tensor:
    """Returns x_0 of x_t and the posterior's mean: Eq. 11, solved for x_0."""
    return (
      at(1 / self.posterior_mean_coef1, t) * x_prev
      - at(self.posterior_mean_coef2 / self.posterior_mean_coef1, t) * x_t
    )

  def eps_from_x_start(self, x_t: tf.Tensor, t: tf.Tensor, x_start: tf.Tensor) -> tf.Tensor:
    """Returns the noise of x_t and x_0: Eq. 9, solved for the noise."""
    return (at(np.sqrt(1 / self.alphas_cumprod), t) * x_t - x_start) / at(
      np.sqrt(1 / self.alphas_cumprod - 1), t
    )


def at(table: np.ndarray, t: tf.Tensor) -> tf.Tensor:
  """Gathers a coefficient for each example: [T], [B] -> float32 [B, 1, 1, 1]."""
  return tf.gather(tf.constant(table, tf.float32), t)[:, None, None, None]


def value_at(table: np.ndarray, k: tf.Tensor) -> tf.Tensor:
  """Returns a coefficient that all examples share: [K], [] -> float32 []."""
  return tf.constant(table, tf.float32)[k]
