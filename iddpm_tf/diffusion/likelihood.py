"""The variational bound of images, term by term (Eq. 4), in bits/dim."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion import losses


class BitsPerDim(NamedTuple):
  """The bound of each image. Columns are the timesteps of the process, t = 0 first."""

  total: tf.Tensor  # [B], the sum of the prior and all terms.
  prior: tf.Tensor  # [B], L_T.
  terms: tf.Tensor  # [B, num_timesteps]: L_0 (Eq. 5), then each L_t (Eq. 6).
  x_start_mse: tf.Tensor  # [B, num_timesteps], of the predicted x_0.
  eps_mse: tf.Tensor  # [B, num_timesteps], of the noise that the predicted x_0 implies.


class Evaluation(NamedTuple):
  """What one evaluation of the network gives, each `[B]`."""

  term: tf.Tensor  # L_0 (Eq. 5) at t = 0, L_t (Eq. 6) elsewhere, bits/dim.
  x_start_mse: tf.Tensor  # Of the predicted x_0.
  eps_mse: tf.Tensor  # Of the noise that the predicted x_0 implies.


def bits_per_dim(
  model_fn: gaussian_diffusion.ModelFn,
  diffusion: gaussian_diffusion.GaussianDiffusion,
  x_start: tf.Tensor,
  noise_fn: Callable[[tf.Tensor], tf.Tensor],
  *,
  clip: bool = True,
) -> BitsPerDim:
  """Returns an upper bound on -log2 p(x_0) / dimensions, with one draw of x_t for each timestep.

  Args:
    model_fn: the network.
    diffusion: the diffusion. A respaced one has fewer terms (Appendix E).
    x_start: images of 256 levels in [-1, 1], `[B, H, W, C]`.
    noise_fn: maps an int32 scalar k to the standard normal noise `[B, H, W, C]` of the k-th
      evaluation. The first evaluation is of the last timestep.
    clip: whether to clip the predicted x_0 to [-1, 1].
  """
  steps = diffusion.num_timesteps
  columns = [tf.TensorArray(tf.float32, steps, element_shape=x_start.shape[:1]) for _ in range(3)]

  def body(k, *columns):
    t = steps - 1 - k
    row = evaluate(
      model_fn, diffusion, x_start, tf.fill(tf.shape(x_start)[:1], t), noise_fn(k), clip=clip
    )
    return (k + 1, *(column.write(t, value) for column, value in zip(columns, row)))

  _, *columns = tf.while_loop(
    lambda k, *_: k < steps, body, [tf.constant(0), *columns], parallel_iterations=1
  )
  terms, x_start_mse, eps_mse = (tf.transpose(column.stack()) for column in columns)
  prior = losses.prior_term(diffusion.process, x_start)
  return BitsPerDim(prior + tf.reduce_sum(terms, axis=1), prior, terms, x_start_mse, eps_mse)


def evaluate(
  model_fn: gaussian_diffusion.ModelFn,
  diffusion: gaussian_diffusion.GaussianDiffusion,
  x_start: tf.Tensor,
  t: tf.Tensor,
  noise: tf.Tensor,
  *,
  clip: bool = True,
) -> Evaluation:
  """Evaluates the network once for each image.

  Args:
    model_fn: the network.
    diffusion: the diffusion.
    x_start: images of 256 levels in [-1, 1], `[B, H, W, C]`.
    t: the timestep of each image, int32 `[B]`.
    noise: standard normal noise `[B, H, W, C]`.
    clip: whether to clip the predicted x_0 to [-1, 1].
  """
  process = diffusion.process
  x_t = process.q_sample(x_start, t, noise)
  output = model_fn(x_t, process.network_timesteps(t))
  prediction = diffusion.predict(output, x_t, t, clip=clip)
  eps = process.eps_from_x_start(x_t, t, prediction.x_start)
  return Evaluation(
    losses.vlb_term(diffusion, prediction, x_start=x_start, x_t=x_t, t=t),
    tf.reduce_mean(tf.square(prediction.x_start - x_start), axis=[1, 2, 3]),
    tf.reduce_mean(tf.square(eps - noise), axis=[1, 2, 3]),
  )
