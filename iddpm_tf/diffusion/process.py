"""The noising process q: its tables, its marginals and posterior, and which timesteps it has.

Images are float32 `[B, H, W, C]` in [-1, 1]; `t` is int32 `[B]`, 0-based: t = 0 is one noising step.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.diffusion import respacing as respacing_lib
from iddpm_tf.diffusion import schedules


class Moments(NamedTuple):
  mean: tf.Tensor  # [B, H, W, C]
  log_variance: tf.Tensor  # [B, 1, 1, 1]


class GaussianProcess(tf.Module):
  """q(x_t | x_0) and q(x_{t-1} | x_t, x_0) for the timesteps that are kept of an original process.

  A respaced process (Eq. 19) is the same class with fewer rows and a map to the original timesteps,
  which the network still sees. The tables are NumPy float64 `[num_timesteps]` under the field's
  names; computation is in float32.
  """

  def __init__(self, betas, timesteps=None, *, rescale_timesteps=True):
    """Makes the process.

    Args:
      betas: of the original process, `[T]`, in (0, 1).
      timesteps: increasing 0-based timesteps to keep; all of them by default.
      rescale_timesteps: the network sees t * 1000 / T; otherwise t.

    Raises:
      ValueError: betas or timesteps that cannot be.
    """
    super().__init__(name="gaussian_process")
    self.original_betas = np.asarray(betas, np.float64)
    self.rescale_timesteps = rescale_timesteps
    steps = len(self.original_betas)
    if not (steps and np.all(self.original_betas > 0) and np.all(self.original_betas < 1)):
      raise settings.InputError("betas", f"expected numbers in (0, 1), received {betas}")
    self.timestep_map = np.asarray(np.arange(steps) if timesteps is None else timesteps, np.int32)
    increasing = np.all(np.diff(self.timestep_map) > 0)
    if not (
      self.timestep_map.size
      and increasing
      and 0 <= self.timestep_map[0]
      and self.timestep_map[-1] < steps
    ):
      raise settings.InputError(
        "timesteps", f"expected increasing ones in [0, {steps}), received {timesteps}"
      )
    self._make_tables(np.cumprod(1 - self.original_betas)[self.timestep_map])

  def _make_tables(self, alphas_cumprod):
    """Everything that Eq. 9 to 13 need, from alpha bar alone (Eq. 19)."""
    self.alphas_cumprod = alphas_cumprod
    self.alphas_cumprod_prev = np.append(1.0, alphas_cumprod[:-1])
    self.alphas_cumprod_next = np.append(alphas_cumprod[1:], 0.0)
    self.betas = 1 - alphas_cumprod / self.alphas_cumprod_prev
    # Eq. 10. It is 0 at t = 0, where its logarithm takes the value of t = 1.
    self.posterior_variance = self.betas * (1 - self.alphas_cumprod_prev) / (1 - alphas_cumprod)
    first = self.posterior_variance[1] if self.num_timesteps > 1 else self.betas[0]
    self.posterior_log_variance_clipped = np.log(np.append(first, self.posterior_variance[1:]))
    # The larger fixed variance; at t = 0 betas alone would be too small for L_0, hence the same value.
    self.large_log_variance = np.log(np.append(first, self.betas[1:]))
    # Eq. 11.
    self.posterior_mean_coef1 = (
      self.betas * np.sqrt(self.alphas_cumprod_prev) / (1 - alphas_cumprod)
    )
    self.posterior_mean_coef2 = (
      (1 - self.alphas_cumprod_prev) * np.sqrt(1 - self.betas) / (1 - alphas_cumprod)
    )

  @property
  def num_timesteps(self):
    return len(self.timestep_map)

  def respaced(self, timesteps):
    """The same process on a subset of its original's timesteps."""
    return GaussianProcess(self.original_betas, timesteps, rescale_timesteps=self.rescale_timesteps)

  def network_timesteps(self, t):
    """Timesteps as the network sees them, float32 `[B]`: of the original process, perhaps scaled."""
    original = tf.cast(tf.gather(self.timestep_map, t), tf.float32)
    return original * (1000.0 / len(self.original_betas)) if self.rescale_timesteps else original

  def q_moments(self, x_start, t):
    """Of q(x_t | x_0), Eq. 8."""
    return Moments(
      at(np.sqrt(self.alphas_cumprod), t) * x_start, at(np.log1p(-self.alphas_cumprod), t)
    )

  def q_sample(self, x_start, t, noise):
    """x_t of x_0 and standard normal noise, Eq. 9."""
    return (
      at(np.sqrt(self.alphas_cumprod), t) * x_start
      + at(np.sqrt(1 - self.alphas_cumprod), t) * noise
    )

  def q_posterior(self, x_start, x_t, t):
    """Moments of q(x_{t-1} | x_t, x_0), Eq. 10 to 12; the variance of t = 0 is clipped."""
    mean = at(self.posterior_mean_coef1, t) * x_start + at(self.posterior_mean_coef2, t) * x_t
    return Moments(mean, at(self.posterior_log_variance_clipped, t))

  def x_start_from_eps(self, x_t, t, eps):
    """Eq. 9, solved for x_0."""
    return (
      at(np.sqrt(1 / self.alphas_cumprod), t) * x_t
      - at(np.sqrt(1 / self.alphas_cumprod - 1), t) * eps
    )

  def x_start_from_x_prev(self, x_t, t, x_prev):
    """Eq. 11, solved for x_0, for the mean of x_{t-1}."""
    return (
      at(1 / self.posterior_mean_coef1, t) * x_prev
      - at(self.posterior_mean_coef2 / self.posterior_mean_coef1, t) * x_t
    )

  def eps_from_x_start(self, x_t, t, x_start):
    """Eq. 9, solved for the noise."""
    return (at(np.sqrt(1 / self.alphas_cumprod), t) * x_t - x_start) / at(
      np.sqrt(1 / self.alphas_cumprod - 1), t
    )


def make_process(config):
  """The whole process of a `DiffusionConfig`."""
  betas = schedules.make_betas(config.noise_schedule, config.diffusion_steps)
  return GaussianProcess(betas, rescale_timesteps=config.rescale_timesteps)


def respace(process, respacing):
  """`process` on the timesteps of `respacing`, as `respacing.space_timesteps` reads it."""
  steps = len(process.original_betas)
  return process.respaced(respacing_lib.space_timesteps(steps, respacing))


def at(table, t):
  """Coefficients of each example: [T], [B] -> float32 [B, 1, 1, 1]."""
  return tf.gather(tf.constant(table, tf.float32), t)[:, None, None, None]
