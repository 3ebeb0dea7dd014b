"""Data whose best network is known, N(0.3, 0.4^2 I), and helpers that draw with a toy network."""

import numpy as np
import tensorflow as tf

from iddpm_tf.config import DiffusionConfig
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion.process import at
from iddpm_tf.diffusion.samplers import base
from iddpm_tf.diffusion.samplers import loop

MEAN, DEVIATION = 0.3, 0.4
SHAPE = (2, 4, 4, 1)
FREE = loop.LoopOptions(clip=False)


def make_diffusion(steps, schedule="cosine", **settings):
  """Returns a diffusion. By default the variance is fixed."""
  settings = settings or {"objective": "simple", "variance_type": "fixed_small"}
  config = DiffusionConfig(
    diffusion_steps=steps, noise_schedule=schedule, rescale_timesteps=False, **settings
  )
  return gaussian_diffusion.make_diffusion(config)


def exact_network(diffusion):
  """Returns E[eps | x_t], and the variance of x_{t-1} given x_t where the variance is learned."""
  process, config = diffusion.process, diffusion.config
  kept, total = process.timestep_map, process.num_original_timesteps
  tables = {name: np.zeros(total) for name in ("alpha", "log_variance", "v")}
  alpha = process.alphas_cumprod
  # Var[x_0 | x_t].
  x_start_variance = DEVIATION**2 * (1 - alpha) / (alpha * DEVIATION**2 + 1 - alpha)
  variance = process.posterior_variance + process.posterior_mean_coef1**2 * x_start_variance
  lower, upper = process.posterior_log_variance_clipped, np.log(process.betas)
  span = np.where(upper > lower, upper - lower, 1.0)
  tables["alpha"][kept] = alpha
  tables["log_variance"][kept] = np.log(variance)
  tables["v"][kept] = 2 * (np.log(variance) - lower) / span - 1

  def model_fn(x_t, t):
    t = tf.cast(t, tf.int32)
    alpha = at(tables["alpha"], t)
    eps = tf.sqrt(1 - alpha) * (x_t - tf.sqrt(alpha) * MEAN) / (alpha * DEVIATION**2 + 1 - alpha)
    if not config.learns_variance:
      return eps
    table = tables["log_variance" if config.variance_type == "learned" else "v"]
    return tf.concat([eps, at(table, t) + tf.zeros_like(eps)], axis=-1)

  return model_fn


def toy_network(x_t, t):
  """Returns an output of fixed variance that depends on both arguments."""
  return 0.3 * x_t + 0.1 * tf.sin(t / 10)[:, None, None, None]


def make_noise(shape=SHAPE, seed=0):
  """Returns a `NoiseFn`."""

  def noise_fn(k):
    return tf.random.stateless_normal(shape, tf.stack([seed, k]), alg="philox")

  return noise_fn


def draw_toy(text, steps=20, noise_fn=None, options=loop.LoopOptions()):
  """Draws with the toy network."""
  sampler = base.parse(text)
  diffusion = sampler.respace(make_diffusion(steps))
  return loop.draw(toy_network, diffusion, sampler, noise_fn or make_noise(), options)
