"""Gaussians: divergences, and the likelihood of 8-bit pixels. Everything is in nats, element by element."""

import math

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions

# Standard deviations of 2e-9 and of 5e8: beyond these, squares of z leave float32.
_MIN_LOG_SCALE, _MAX_LOG_SCALE = -20.0, 20.0
# Further out, z * z and its gradients leave float32.
_MAX_Z = 1e15
_HALF_BIN = 1 / 255  # Half the distance of two grey levels, of 255 in [-1, 1].
_NARROW = 0.015  # Half a bin, in standard deviations.
_FAR = 50.0  # From the mean, in standard deviations.
_NORMAL = tfd.Normal(0.0, 1.0)


def kl_divergence(mean, log_variance, other_mean, other_log_variance):
  """KL(N(mean, exp(log_variance)) || N(other_mean, exp(other_log_variance))), nats, elementwise."""
  # The divergence sees only the difference of the means; taken here, it does not cancel.
  p = tfd.Normal(0.0, _scale(log_variance))
  q = tfd.Normal(other_mean - mean, _scale(other_log_variance))
  return tfd.kl_divergence(p, q)


def discretized_log_likelihood(x, mean, log_variance):
  """Log-probability that a Gaussian gives to the bin of each pixel, nats (section 2.1, L_0).

  The bins are the 256 levels of `x`; the first and the last are open. Exact to float32 rounding (1e-5
  nats, or 1e-6 of the value), and finite with finite gradients for any finite arguments.

  Args:
    x: pixels, of 256 levels in [-1, 1].
    mean, log_variance: broadcast against `x`.
  """
  inverse_scale = 1.0 / _scale(log_variance)
  z = tf.clip_by_value((x - mean) * inverse_scale, -_MAX_Z, _MAX_Z)
  half_bin = _HALF_BIN * inverse_scale + tf.zeros_like(z)
  inner = _log_interval(z, half_bin)
  return tf.where(
    x < -0.999, _log_cdf(z + half_bin), tf.where(x > 0.999, _log_cdf(half_bin - z), inner)
  )


def approximate_log_likelihood(x, mean, log_variance):
  """The same by the authors' approximation, with which the paper's numbers were computed.

  The CDF is a tanh of a cubic, and probabilities are clamped at 1e-12, where gradients vanish.
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


def _log_interval(centre, half):
  """log(cdf(centre + half) - cdf(centre - half)) of the standard normal.

  In the left tail, where floating point is dense, it is log_cdf(upper) + log(1 - exp(-d)) with d =
  log_cdf(upper) - log_cdf(lower). Only d can cancel; where it would, it is integrated instead.
  """
  centre = -tf.abs(centre)  # By symmetry.
  upper, lower = _log_cdf(centre + half), _log_cdf(centre - half)
  # Far out, the derivative of log_cdf is -z; the next term is smaller by z * z.
  far = -2.0 * half * centre
  near = tf.maximum(centre, -_FAR)
  hazard = tf.exp(_NORMAL.log_prob(near) - _NORMAL.log_cdf(near))
  narrow = 2.0 * half * hazard  # The midpoint rule.
  difference = tf.where(centre < -_FAR, far, tf.where(half < _NARROW, narrow, upper - lower))
  return upper + tf.math.log(-tf.math.expm1(-difference))


def _log_cdf(z):
  """TFP's, up to where its series leaves float32 (the gradient from z = -1e12 on is NaN)."""
  leading = tf.minimum(z, -_FAR)
  tail = -0.5 * tf.square(leading) - tf.math.log(-leading) - 0.5 * math.log(2 * math.pi)
  return tf.where(z < -1e4, tail, _NORMAL.log_cdf(tf.maximum(z, -1e4)))


def bits_per_dim(nats):
  """Nats, elementwise `[B, H, W, C]`, to bits per dimension `[B]`."""
  return tf.reduce_mean(nats, axis=[1, 2, 3]) / math.log(2.0)


def _scale(log_variance):
  return tf.exp(tf.clip_by_value(0.5 * log_variance, _MIN_LOG_SCALE, _MAX_LOG_SCALE))
