"""The objectives of sections 2.2 and 3.1 for each example: L_simple, L_vlb, L_hybrid."""

from typing import NamedTuple

import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion import gaussians
from iddpm_tf.diffusion import process as process_lib

# Lambda of Eq. 16 for L_hybrid, and the whole bound for L_vlb.
_DEFAULT_VLB_WEIGHT = {"simple": 0.0, "hybrid": 0.001, "vlb": 1.0}


class Losses(NamedTuple):
  """Losses of each example, each `[B]`. A term that the objective does not have is 0."""

  loss: tf.Tensor  # The objective.
  mse: tf.Tensor  # L_simple, also where the objective leaves it out.
  vlb: tf.Tensor  # The weighted estimate of L_vlb, bits/dim.


def training_losses(
  diffusion: gaussian_diffusion.GaussianDiffusion,
  output: tf.Tensor,
  *,
  x_start: tf.Tensor,
  x_t: tf.Tensor,
  t: tf.Tensor,
  noise: tf.Tensor,
) -> Losses:
  """Returns the objective at one timestep for each example.

  With t uniform, T * L_t is an unbiased estimate of the sum of the bound's terms (without L_T,
  which nothing trains), so `vlb_weight` weighs L_vlb itself. The authors' losses are: rescaled_kl,
  "vlb"; kl, "vlb" with weight 1/T; rescaled_mse, "hybrid"; mse, "hybrid" with weight 1/T; either of
  the last two with a fixed variance, "simple".

  Args:
    diffusion: the diffusion, on all timesteps.
    output: the network's output, `[B, H, W, C or 2 C]`.
    x_start: images in [-1, 1], `[B, H, W, C]`.
    x_t: q_sample(x_start, t, noise), `[B, H, W, C]`.
    t: timesteps, int32 `[B]`.
    noise: standard normal noise, `[B, H, W, C]`.
  """
  config = diffusion.config
  vlb = tf.zeros_like(t, tf.float32)
  mse = _simple_loss(diffusion, output, x_start, x_t, t, noise)
  weight = vlb_weight(config)
  if weight:
    if config.objective == "hybrid":
      output = _stop_mean_gradient(diffusion, output)
    prediction = diffusion.predict(output, x_t, t, clip=False)
    term = vlb_term(diffusion, prediction, x_start=x_start, x_t=x_t, t=t)
    vlb = weight * diffusion.num_timesteps * term
  return Losses(vlb if config.objective == "vlb" else mse + vlb, mse, vlb)


def vlb_weight(config: config_lib.DiffusionConfig) -> float:
  """Returns the weight of L_vlb in the objective."""
  return _DEFAULT_VLB_WEIGHT[config.objective] if config.vlb_weight is None else config.vlb_weight


def vlb_term(
  diffusion: gaussian_diffusion.GaussianDiffusion,
  prediction: gaussian_diffusion.Prediction,
  *,
  x_start: tf.Tensor,
  x_t: tf.Tensor,
  t: tf.Tensor,
) -> tf.Tensor:
  """Returns the bound's term at t, bits/dim `[B]`: L_0 (Eq. 5) at t = 0, L_t (Eq. 6) elsewhere."""
  posterior = diffusion.process.q_posterior(x_start, x_t, t)
  kl = gaussians.kl_divergence(
    posterior.mean, posterior.log_variance, prediction.mean, prediction.log_variance
  )
  log_likelihood = gaussians.LOG_LIKELIHOODS[diffusion.config.decoder]
  decoder = -log_likelihood(x_start, prediction.mean, prediction.log_variance)
  return tf.where(t == 0, gaussians.bits_per_dim(decoder), gaussians.bits_per_dim(kl))


def prior_term(process: process_lib.GaussianProcess, x_start: tf.Tensor) -> tf.Tensor:
  """Returns L_T (Eq. 7), bits/dim `[B]`: the divergence of q(x_T | x_0) from a standard normal."""
  last = tf.fill(tf.shape(x_start)[:1], process.num_timesteps - 1)
  moments = process.q_moments(x_start, last)
  return gaussians.bits_per_dim(
    gaussians.kl_divergence(moments.mean, moments.log_variance, 0.0, 0.0)
  )


def _simple_loss(diffusion, output, x_start, x_t, t, noise):
  """Returns Eq. 14, `[B]`, for the quantity that the network predicts."""
  if diffusion.config.mean_type == "eps":
    target = noise
  elif diffusion.config.mean_type == "x_start":
    target = x_start
  else:
    target = diffusion.process.q_posterior(x_start, x_t, t).mean
  mean_output, _ = diffusion.split_output(output)
  return tf.reduce_mean(tf.square(target - mean_output), axis=[1, 2, 3])


def _stop_mean_gradient(diffusion, output):
  """Stops the mean's gradient: in L_hybrid the bound guides only the variance (section 3.1)."""
  mean_output, variance_output = diffusion.split_output(output)
  return tf.concat([tf.stop_gradient(mean_output), variance_output], axis=-1)
