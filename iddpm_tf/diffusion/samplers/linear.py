"""Samplers whose steps are linear combinations of images, predictions and noise."""

import abc
import dataclasses

import numpy as np
import tensorflow as tf

from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.diffusion.process import value_at
from iddpm_tf.diffusion.samplers import base


@dataclasses.dataclass(frozen=True)
class Levels:
  """x = alpha x_0 + sigma eps at some timesteps, or at the end, where alpha = 1 and sigma = 0.

  Attributes:
    alphas: float64 `[N]`.
    sigmas: float64 `[N]`.
  """

  alphas: np.ndarray
  sigmas: np.ndarray

  @classmethod
  def of_process(cls, process: process_lib.GaussianProcess) -> "Levels":
    """Returns the levels of a process from the noisiest on, and the end: `[num_timesteps + 1]`."""
    alphas_cumprod = np.append(process.alphas_cumprod[::-1], 1.0)
    return cls(np.sqrt(alphas_cumprod), np.sqrt(1 - alphas_cumprod))

  @property
  def noise_levels(self) -> np.ndarray:
    """EDM's sigma: sigma / alpha."""
    return self.sigmas / self.alphas

  @property
  def half_log_snr(self) -> np.ndarray:
    """Lambda = log(alpha / sigma), which is infinite at the end (Lu et al., 2022)."""
    with np.errstate(divide="ignore"):
      return -np.log(self.noise_levels)


@dataclasses.dataclass(frozen=True)
class Coefficients:
  """The factors of a linear sampler at each of its K evaluations, float64 `[K]`.

  The next image is x * x_t + x_start * (the predicted x_0) + kept_x * (the kept image)
  + kept_x_start * (the kept prediction) + noise * (standard normal noise).

  Attributes:
    x: the factor of x_t.
    x_start: the factor of the predicted x_0.
    kept_x: the factor of the image that was kept. At the first evaluation of a step it is 0,
      because images may begin at any step.
    kept_x_start: the factor of the prediction that was kept.
    noise: the factor of the noise.
    keeps: whether x_t and the prediction are kept after the evaluation, bool `[K]`.
  """

  x: np.ndarray
  x_start: np.ndarray
  kept_x: np.ndarray
  kept_x_start: np.ndarray
  noise: np.ndarray
  keeps: np.ndarray

  @classmethod
  def zeros(cls, count: int) -> "Coefficients":
    """Returns factors of 0 for a number of evaluations, to be filled in."""
    names = ("x", "x_start", "kept_x", "kept_x_start", "noise")
    return cls(**{name: np.zeros(count) for name in names}, keeps=np.zeros(count, bool))

  def set_exponential_step(self, k: int, levels: Levels, start: int, end: int) -> float:
    """Sets evaluation k to DPM-Solver++'s step of first order, which is DDIM's.

    x_end = sigma_end / sigma_start x + alpha_end (1 - exp(-h)) x_0, with the step h in lambda.

    Args:
      k: the number of the evaluation.
      levels: the levels.
      start: the index of the level at which the step begins.
      end: the index of the level at which it ends.

    Returns:
      alpha_end (1 - exp(-h)), the factor of the predicted x_0.
    """
    # exp(-h) is the ratio of the noise levels.
    gain = levels.alphas[end] * (1 - levels.noise_levels[end] / levels.noise_levels[start])
    self.x[k] = levels.sigmas[end] / levels.sigmas[start]
    self.x_start[k] = gain
    return gain

  def extrapolate(self, k: int, gain: float, levels: Levels) -> None:
    """Replaces x_0 at evaluation k by the extrapolation from the evaluation before, as 2M does.

    x_0 becomes x_0 + w (x_0 - kept x_0), with w half the ratio of this step in lambda to the one
    before. The first step has no evaluation before it, and the last one is infinitely long.

    Args:
      k: the number of the evaluation, which begins at level k.
      gain: the factor of the predicted x_0 without extrapolation.
      levels: the levels.
    """
    if 0 < k < len(self.x) - 1:
      log_snr = levels.half_log_snr
      weight = (log_snr[k + 1] - log_snr[k]) / (2 * (log_snr[k] - log_snr[k - 1]))
      self.x_start[k] = gain * (1 + weight)
      self.kept_x_start[k] = -gain * weight


@dataclasses.dataclass(frozen=True)
class LinearSampler(base.Sampler, abc.ABC):
  """A sampler whose evaluations have `Coefficients`, which are tables made in float64."""

  has_memory = True

  @abc.abstractmethod
  def coefficients(self, diffusion: gaussian_diffusion.GaussianDiffusion) -> Coefficients:
    """Returns the factors at each evaluation of `schedule`.

    Args:
      diffusion: the diffusion, respaced to this sampler's timesteps.
    """

  def initial_memory(self, x: tf.Tensor) -> base.Memory:
    """Returns no kept image, no kept prediction, and whether there are any: bool `[B, 1, 1, 1]`."""
    return tf.zeros_like(x), tf.zeros_like(x), tf.zeros_like(x[:, :1, :1, :1], tf.bool)

  def advance(
    self, evaluation: base.Evaluation, memory: base.Memory
  ) -> tuple[tf.Tensor, base.Memory]:
    """Returns the linear combination at this evaluation, and what is kept.

    Raises:
      ValueError: a step begins with an image that was kept before it.
    """
    table = self.coefficients(evaluation.diffusion)
    if np.any(table.kept_x[self.starts(evaluation.diffusion)]):
      raise ValueError(f"{self.name}: expected kept_x = 0 at the first evaluation of each step")
    kept_x, kept_x_start, is_kept = memory
    x, x_start, k = evaluation.x_t, evaluation.prediction.x_start, evaluation.k
    # An image's first step has no earlier prediction, and is one of first order: the difference of
    # the two predictions, which makes the second order, is 0.
    earlier = tf.where(is_kept, kept_x_start, x_start)
    terms = [
      (table.x, x),
      (table.x_start, x_start),
      (table.kept_x, kept_x),
      (table.kept_x_start, earlier),
      (table.noise, evaluation.noise),
    ]
    result = tf.add_n([value_at(factors, k) * value for factors, value in terms if np.any(factors)])
    keeps = tf.constant(table.keeps)[k]
    return result, (
      tf.where(keeps, x, kept_x),
      tf.where(keeps, x_start, kept_x_start),
      is_kept | keeps,
    )
