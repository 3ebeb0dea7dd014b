"""The variational bound of images, term by term (Eq. 4), in bits per dimension."""

from typing import NamedTuple

import tensorflow as tf

from iddpm_tf.diffusion import losses
from iddpm_tf.diffusion import reverse


class BitsPerDim(NamedTuple):
  """Columns are the process's timesteps, t = 0 first."""

  total: tf.Tensor  # [B], the prior and all terms.
  prior: tf.Tensor  # [B], L_T.
  terms: tf.Tensor  # [B, num_timesteps]: L_0 (Eq. 5), then each L_t (Eq. 6).
  x_start_mse: tf.Tensor  # [B, num_timesteps], of the predicted x_0.
  eps_mse: tf.Tensor  # [B, num_timesteps], of the noise that this implies.


class Evaluation(NamedTuple):
  """What one evaluation of the network says, each `[B]`."""

  term: tf.Tensor  # L_0 (Eq. 5) at t = 0, L_t (Eq. 6) elsewhere, bits/dim.
  x_start_mse: tf.Tensor  # Of the predicted x_0.
  eps_mse: tf.Tensor  # Of the noise that this implies.


def bits_per_dim(denoise_fn, process, config, x_start, noise_fn, *, clip=True):
  """An upper bound on -log2 p(x_0) / dimensions, with one draw of x_t a timestep.

  Args:
    denoise_fn: `(x_t, t) -> output`, t as the network sees it.
    process: a `GaussianProcess`; on fewer timesteps by `respaced` (Appendix E).
    config: a `DiffusionConfig`.
    x_start: images of 256 levels in [-1, 1], `[B, H, W, C]`.
    noise_fn: standard normal noise `[B, H, W, C]` of an int32 k, for the k-th evaluation; the first is
      of the last timestep.
    clip: whether the predicted x_0 is clipped to [-1, 1].

  Returns:
    `BitsPerDim`.
  """
  steps = process.num_timesteps
  columns = [tf.TensorArray(tf.float32, steps, element_shape=x_start.shape[:1]) for _ in range(3)]

  def body(k, *columns):
    t = steps - 1 - k
    row = evaluate(
      denoise_fn,
      process,
      config,
      x_start,
      tf.fill(tf.shape(x_start)[:1], t),
      noise_fn(k),
      clip=clip,
    )
    return (k + 1, *(column.write(t, value) for column, value in zip(columns, row)))

  _, *columns = tf.while_loop(
    lambda k, *_: k < steps, body, [tf.constant(0), *columns], parallel_iterations=1
  )
  terms, x_start_mse, eps_mse = (tf.transpose(column.stack()) for column in columns)
  prior = losses.prior_term(process, x_start)
  return BitsPerDim(prior + tf.reduce_sum(terms, axis=1), prior, terms, x_start_mse, eps_mse)


def evaluate(denoise_fn, process, config, x_start, t, noise, *, clip=True):
  """The `Evaluation` of images `[B, H, W, C]`, each at its own timestep `[B]`, with noise of their shape."""
  x_t = process.q_sample(x_start, t, noise)
  output = denoise_fn(x_t, process.network_timesteps(t))
  prediction = reverse.predict(process, config, output, x_t, t, clip=clip)
  eps = process.eps_from_x_start(x_t, t, prediction.x_start)
  return Evaluation(
    losses.vlb_term(process, config, prediction, x_start=x_start, x_t=x_t, t=t),
    tf.reduce_mean(tf.square(prediction.x_start - x_start), axis=[1, 2, 3]),
    tf.reduce_mean(tf.square(eps - noise), axis=[1, 2, 3]),
  )
