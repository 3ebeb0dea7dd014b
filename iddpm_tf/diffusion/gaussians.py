"""Divergences of Gaussians, and the likelihood of 8-bit pixels, elementwise in nats."""

import math

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions

# Standard deviations of 2e-9 and 5e8. Beyond these, squares of z do not fit into float32.
_MIN_LOG_SCALE, _MAX_LOG_SCALE = -20.0, 20.0
# Beyond this, z * z and its gradients do not fit into float32.
_MAX_Z = 1e15
_HALF_BIN = 1 / 255  # Half of the distance between two grey levels in [-1, 1].
_NARROW = 0.015  # Half a bin, in standard deviations, below which a bin is narrow.
_FAR = 50.0  # Distance from the mean, in standard deviations, beyond which a bin is far.


def kl_divergence(
  mean: tf.Tensor,
  log_variance: tf.Tensor,
  other_mean: tf.Tensor | float,
  other_log_variance: tf.Tensor | float,
) -> tf.Tensor:
  """Returns KL(N(mean, exp(log_variance)) || N(other_mean, exp(other_log_variance))), nats.

  The result is elementwise; all arguments broadcast against each other.
  """
  # The divergence depends only on the difference of the means, which does not cancel if taken here.
  p = tfd.Normal(0.0, _scale(log_variance))
  q = tfd.Normal(other_mean - mean, _scale(other_log_variance))
  return tfd.kl_divergence(p, q)


def discretized_log_likelihood(x: tf.Tensor, mean: tf.Tensor, log_variance: tf.Tensor) -> tf.Tensor:
  """Returns the log-probability that a Gaussian gives to the bin of each pixel, nats (L_0, Eq. 5).

  Each of the 256 levels of `x` has a bin; the first and the last bin are open. The result is exact
  to float32 rounding (1e-5 nats, or 1e-6 of the value), and it and its gradients are finite for any
  finite arguments.

  Args:
    x: pixels of 256 levels in [-1, 1].
    mean: the mean of the Gaussian, which broadcasts against `x`.
    log_variance: its log-variance, which broadcasts against `x`.
  """
  inverse_scale = 1.0 / _scale(log_variance)
  z = tf.clip_by_value((x - mean) * inverse_scale, -_MAX_Z, _MAX_Z)
  half_bin = _HALF_BIN * inverse_scale + tf.zeros_like(z)
  centre = -tf.abs(z)  # By symmetry.
  near = tf.maximum(centre, -_FAR)
  # All at once: TFP's log_cdf has a hundred operations, and as many in its gradient.
  arguments = tf.stack([z + half_bin, half_bin - z, centre + half_bin, centre - half_bin, near])
  first, last, upper, lower, log_cdf_near = tf.unstack(_log_cdf(arguments))
  hazard = tf.exp(_standard_normal().log_prob(near) - log_cdf_near)
  inner = _log_interval(centre, half_bin, upper, lower, hazard)
  return tf.where(x < -0.999, first, tf.where(x > 0.999, last, inner))


def approximate_log_likelihood(x: tf.Tensor, mean: tf.Tensor, log_variance: tf.Tensor) -> tf.Tensor:
  """Returns the authors' approximation of `discretized_log_likelihood`, which the paper uses.

  The CDF is approximated by the tanh of a cubic. Probabilities are clamped at 1e-12, where
  gradients vanish.
  """
  inverse_scale = 1.0 / _scale(log_variance)
  cdf_upper = _approximate_cdf(inverse_scale * (x - mean + _HALF_BIN))
  cdf_lower = _approximate_cdf(inverse_scale * (x - mean - _HALF_BIN))
  probability = tf.where(
    x < -0.999, cdf_upper, tf.where(x > 0.999, 1.0 - cdf_lower, cdf_upper - cdf_lower)
  )
  return tf.math.log(tf.maximum(probability, 1e-12))


def _approximate_cdf(z):
  return 0.5 * (1.0 + tf.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


LOG_LIKELIHOODS = {"exact": discretized_log_likelihood, "tanh": approximate_log_likelihood}


def _log_interval(centre, half, upper, lower, hazard):
  """Returns log(cdf(centre + half) - cdf(centre - half)) of the standard normal.

  In the left tail, where floating point is dense, this is upper + log(1 - exp(-d)) with
  d = upper - lower. Only d can cancel; where it would, it is integrated instead.

  Args:
    centre: the centre of the interval, at most 0.
    half: half of its length.
    upper: log_cdf(centre + half).
    lower: log_cdf(centre - half).
    hazard: the derivative of log_cdf at `max(centre, -_FAR)`.
  """
  # Far out, the derivative of log_cdf is -z. The next term is smaller by a factor of z * z.
  far = -2.0 * half * centre
  narrow = 2.0 * half * hazard  # The midpoint rule.
  difference = tf.where(centre < -_FAR, far, tf.where(half < _NARROW, narrow, upper - lower))
  return upper + tf.math.log(-tf.math.expm1(-difference))


def _log_cdf(z):
  """Returns log_cdf of the standard normal: TFP's, except where its gradient is NaN (z < -1e12)."""
  leading = tf.minimum(z, -_FAR)
  tail = -0.5 * tf.square(leading) - tf.math.log(-leading) - 0.5 * math.log(2 * math.pi)
  return tf.where(z < -1e4, tail, _standard_normal().log_cdf(tf.maximum(z, -1e4)))


def _standard_normal():
  # It is no constant of the module: an import that runs TensorFlow comes too early for workers of
  # several machines, which have to find each other before.
  return tfd.Normal(0.0, 1.0)


def bits_per_dim(nats: tf.Tensor) -> tf.Tensor:
  """Converts elementwise nats `[B, H, W, C]` to bits/dim `[B]`."""
  return tf.reduce_mean(nats, axis=[1, 2, 3]) / math.log(2.0)


def _scale(log_variance):
  return tf.exp(tf.clip_by_value(0.5 * log_variance, _MIN_LOG_SCALE, _MAX_LOG_SCALE))
