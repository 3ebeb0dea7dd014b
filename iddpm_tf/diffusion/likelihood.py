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
  timesteps_at_a_time: int | tf.Tensor = 1,
) -> BitsPerDim:
  """Returns an upper bound on -log2 p(x_0) / dimensions, with one draw of x_t for each timestep.

  Args:
    model_fn: the network. It gets `timesteps_at_a_time * B` values of x_t and t: all images at one
      timestep, then all at the next one.
    diffusion: the diffusion. A respaced one has fewer terms (Appendix E).
    x_start: images of 256 levels in [-1, 1], `[B, H, W, C]`.
    noise_fn: maps an int32 scalar k to the standard normal noise `[B, H, W, C]` of the k-th
      evaluation. The first evaluation is of the last timestep.
    clip: whether to clip the predicted x_0 to [-1, 1].
    timesteps_at_a_time: the number of timesteps at which each call of the network evaluates the
      images, so that few images, too, make a batch that is large enough for the device.
  """
  steps, size = diffusion.num_timesteps, tf.shape(x_start)[0]
  repeated = tf.tile(x_start, [timesteps_at_a_time, 1, 1, 1])
  calls = num_calls(steps, timesteps_at_a_time)
  columns = [tf.TensorArray(tf.float32, calls, infer_shape=False) for _ in range(3)]

  def body(call, *columns):
    # The last call repeats its last timestep where none is left.
    k = tf.minimum(call * timesteps_at_a_time + tf.range(timesteps_at_a_time), steps - 1)
    noise = tf.reshape(tf.map_fn(noise_fn, k, fn_output_signature=tf.float32), tf.shape(repeated))
    t = tf.repeat(steps - 1 - k, size)
    values = evaluate(model_fn, diffusion, repeated, t, noise, clip=clip)
    return (call + 1, *(column.write(call, value) for column, value in zip(columns, values)))

  _, *columns = tf.while_loop(
    lambda call, *_: call < calls, body, [tf.constant(0), *columns], parallel_iterations=1
  )

  def by_timestep(column):
    rows = tf.reshape(column.concat(), [calls * timesteps_at_a_time, size])[:steps]
    return tf.transpose(rows[::-1])

  terms, x_start_mse, eps_mse = map(by_timestep, columns)
  prior = losses.prior_term(diffusion.process, x_start)
  return BitsPerDim(prior + tf.reduce_sum(terms, axis=1), prior, terms, x_start_mse, eps_mse)


def num_calls(steps: int, timesteps_at_a_time: int | tf.Tensor) -> int | tf.Tensor:
  """Returns the number of calls of the network that evaluate all timesteps."""
  return -(-steps // timesteps_at_a_time)


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
