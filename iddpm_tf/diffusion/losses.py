"""The objectives of sections 2.2 and 3.1: L_simple, L_vlb, L_hybrid, for each example."""

from typing import NamedTuple

import tensorflow as tf

from iddpm_tf.diffusion import gaussians
from iddpm_tf.diffusion import reverse

# Lambda of Eq. 16, and the whole bound.
_DEFAULT_VLB_WEIGHT = {"simple": 0.0, "hybrid": 0.001, "vlb": 1.0}


class Losses(NamedTuple):
  """Each [B]. `loss` is the objective; terms that it does not have are 0."""

  loss: tf.Tensor
  mse: tf.Tensor  # L_simple.
  vlb: tf.Tensor  # The weighted estimate of L_vlb, bits/dim.


def training_losses(process, config, output, *, x_start, x_t, t, noise):
  """The objective of `config` at one timestep an example.

  With t uniform, T * L_t is an unbiased estimate of the sum of the bound's terms (without L_T, which
  nothing trains), so `vlb_weight` weighs L_vlb itself. The authors' losses are: rescaled_kl, "vlb";
  kl, "vlb" with weight 1/T; rescaled_mse, "hybrid"; mse, "hybrid" with weight 1/T; either of the last
  two with a fixed variance, "simple".

  Args:
    process: a `GaussianProcess`.
    config: a `DiffusionConfig`.
    output: the network's, `[B, H, W, C or 2C]`.
    x_start, x_t, noise: `[B, H, W, C]`, with x_t = q_sample(x_start, t, noise).
    t: `[B]`.
  """
  zeros = tf.zeros_like(t, tf.float32)
  mse = vlb = zeros
  if config.objective != "vlb":
    mse = _simple_loss(process, config, output, x_start, x_t, t, noise)
  weight = vlb_weight(config)
  if weight:
    if config.objective == "hybrid":
      output = _stop_mean_gradient(config, output)
    prediction = reverse.predict(process, config, output, x_t, t, clip=False)
    term = vlb_term(process, config, prediction, x_start=x_start, x_t=x_t, t=t)
    vlb = weight * process.num_timesteps * term
  return Losses(mse + vlb, mse, vlb)


def vlb_weight(config):
  """The weight of L_vlb in the objective of a `DiffusionConfig`."""
  return _DEFAULT_VLB_WEIGHT[config.objective] if config.vlb_weight is None else config.vlb_weight


def vlb_term(process, config, prediction, *, x_start, x_t, t):
  """The bound's term at t, bits/dim `[B]`: L_0 (Eq. 5) at t = 0, L_t (Eq. 6) elsewhere."""
  posterior = process.q_posterior(x_start, x_t, t)
  kl = gaussians.kl_divergence(
    posterior.mean, posterior.log_variance, prediction.mean, prediction.log_variance
  )
  log_likelihood = gaussians.LOG_LIKELIHOODS[config.decoder]
  decoder = -log_likelihood(x_start, prediction.mean, prediction.log_variance)
  return tf.where(t == 0, gaussians.bits_per_dim(decoder), gaussians.bits_per_dim(kl))


def prior_term(process, x_start):
  """L_T (Eq. 7), bits/dim `[B]`: how far q(x_T | x_0) is from a standard normal."""
  last = tf.fill(tf.shape(x_start)[:1], process.num_timesteps - 1)
  moments = process.q_moments(x_start, last)
  return gaussians.bits_per_dim(
    gaussians.kl_divergence(moments.mean, moments.log_variance, 0.0, 0.0)
  )


def _simple_loss(process, config, output, x_start, x_t, t, noise):
  """Eq. 14, `[B]`, for whichever quantity the network predicts."""
  target = {
    "eps": lambda: noise,
    "x_start": lambda: x_start,
    "x_prev": lambda: process.q_posterior(x_start, x_t, t).mean,
  }[config.mean_type]()
  mean_output, _ = reverse.split_output(config, output)
  return tf.reduce_mean(tf.square(target - mean_output), axis=[1, 2, 3])


def _stop_mean_gradient(config, output):
  """In L_hybrid the bound guides the variance only (section 3.1)."""
  mean_output, variance_output = reverse.split_output(config, output)
  return tf.concat([tf.stop_gradient(mean_output), variance_output], axis=-1)
