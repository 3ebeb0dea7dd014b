"""From the network's output to p(x_{t-1} | x_t): Eq. 3, 13 and 15."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from iddpm_tf.diffusion.process import at


class Prediction(NamedTuple):
  """What the network's output says."""

  mean: tf.Tensor  # Of p(x_{t-1} | x_t), [B, H, W, C].
  log_variance: tf.Tensor  # Broadcasts against the mean.
  x_start: tf.Tensor  # The predicted x_0, [B, H, W, C].


def predict(process, config, output, x_t, t, *, clip, constrain=None):
  """p(x_{t-1} | x_t) of a network's output.

  Args:
    process: a `GaussianProcess`.
    config: a `DiffusionConfig`; says what the output means.
    output: `[B, H, W, C]`, or `[B, H, W, 2C]` with the variance's values second if it is learned.
    x_t: `[B, H, W, C]`.
    t: `[B]`.
    clip: whether the predicted x_0 is clipped to [-1, 1].
    constrain: a function of the predicted x_0 that says what of it is known.
  """
  mean_output, variance_output = split_output(config, output)
  x_start = {
    "eps": process.x_start_from_eps,
    "x_start": lambda x_t, t, output: output,
    "x_prev": process.x_start_from_x_prev,
  }[config.mean_type](x_t, t, mean_output)
  if clip:
    x_start = tf.clip_by_value(x_start, -1.0, 1.0)
  if constrain:
    x_start = constrain(x_start)
  if config.mean_type == "x_prev" and not constrain:
    mean = mean_output
  else:
    mean = process.q_posterior(x_start, x_t, t).mean
  return Prediction(mean, _log_variance(process, config, variance_output, t), x_start)


def split_output(config, output):
  """The output's parts for the mean and the variance; the second is None where that is fixed."""
  return tf.split(output, 2, axis=-1) if config.learns_variance else (output, None)


def _log_variance(process, config, variance_output, t):
  if config.variance_type == "learned":
    return variance_output
  lower = at(process.posterior_log_variance_clipped, t)
  if config.variance_type == "fixed_small":
    return lower
  if config.variance_type == "fixed_large":
    return at(process.large_log_variance, t)
  # Eq. 15; the network emits 2 v - 1, which starts at 0 in the middle of the range.
  v = (variance_output + 1.0) / 2.0
  return v * at(np.log(process.betas), t) + (1.0 - v) * lower
