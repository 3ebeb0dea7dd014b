"""One optimizer step of one replica."""

import functools
from typing import NamedTuple

import tensorflow as tf

from iddpm_tf.data import images as images_lib
from iddpm_tf.diffusion import losses as losses_lib
from iddpm_tf.networks.stateless import call_network
from iddpm_tf.training import microbatches

# What the random numbers of a step are for.
_TIMESTEPS, _NOISE, _DROPOUT = range(3)


class StepRecord(NamedTuple):
  """What happened to this replica's images; `N` is the global batch size over the replicas."""

  t: tf.Tensor  # int32 [N]
  weights: tf.Tensor  # [N], 1 / (T p_t): means weighted by them are as if t were uniform.
  loss: tf.Tensor  # [N], each unweighted: the objective, L_simple and the weighted L_vlb.
  mse: tf.Tensor
  vlb: tf.Tensor
  grad_norm: tf.Tensor  # [], of all replicas' gradients together.
  part_squared_norm: tf.Tensor  # [], the mean of |gradient|^2 of all replicas' microbatches alone.


def train_step(state, batch):
  """Updates `state` by this replica's part of the batch; in replica context.

  Noise and timesteps are drawn for the whole batch from (seed, step), and each replica takes its part,
  so that any number of replicas and of microbatches makes the same step (dropout's masks alone depend on the
  number of parts).

  Args:
    state: a `TrainState`.
    batch: `{"image": float32 [N, H, W, C], "label": int32 [N]}`.

  Returns:
    `StepRecord`.
  """
  replica = tf.distribute.get_replica_context()
  count = tf.shape(batch["image"])[0]
  total = count * replica.num_replicas_in_sync
  seed_for = functools.partial(_seed, state.config.training.seed, state.step.value)

  def own(whole):
    start = replica.replica_id_in_sync_group * count
    return whole[start : start + count]

  t, weights = map(own, state.timestep_sampler.sample(total, seed_for(_TIMESTEPS)))
  noise = own(
    tf.random.stateless_normal(
      tf.concat([[total], batch["image"].shape[1:]], 0), seed_for(_NOISE), alg="philox"
    )
  )
  parts, dropout_seed = state.config.training.microbatches, seed_for(_DROPOUT)

  def part_gradients(i, arrays):
    # Every part of every replica has masks of its own.
    number = replica.replica_id_in_sync_group * parts + i
    return loss_and_gradients(
      state, *arrays, dropout_seed + tf.stack([0, tf.cast(number, dropout_seed.dtype)])
    )

  losses, gradients = microbatches.accumulate(
    part_gradients, parts, (batch, t, weights, noise), state.network.trainable_variables
  )
  grad_norm = apply_gradients(state, gradients.mean)
  part_squared_norm = replica.all_reduce(tf.distribute.ReduceOp.MEAN, gradients.part_squared_norm)
  return StepRecord(t, weights, losses.loss, losses.mse, losses.vlb, grad_norm, part_squared_norm)


def loss_and_gradients(state, batch, t, weights, noise, dropout_seed):
  """`Losses` of each image of a batch, and the gradients of their weighted mean (Eq. 18)."""
  config, process = state.config, state.process
  x_start = batch["image"]
  x_t = process.q_sample(x_start, t, noise)
  label = batch["label"] if config.network.class_conditional else None
  low = config.network.low_res_size
  low_res = images_lib.area_downsample(x_start, low) if low else None
  with tf.GradientTape() as tape:
    output = call_network(
      state.network,
      x_t,
      process.network_timesteps(t),
      label,
      low_res=low_res,
      dropout_seed=dropout_seed if config.network.dropout else None,
    )
    losses = losses_lib.training_losses(
      process, config.diffusion, output, x_start=x_start, x_t=x_t, t=t, noise=noise
    )
    mean = tf.reduce_mean(losses.loss * weights)
  gradients = tape.gradient(mean, [v.value for v in state.network.trainable_variables])
  # The label embedding's is sparse.
  return losses, [tf.convert_to_tensor(gradient) for gradient in gradients]


def apply_gradients(state, gradients):
  """Updates weights and averages by the mean of the replicas' gradients; returns its norm."""
  replica = tf.distribute.get_replica_context()
  gradients = replica.all_reduce(tf.distribute.ReduceOp.MEAN, gradients)
  # The optimizer sums over replicas once more: the price of the norm, which it does not give away.
  share = 1.0 / replica.num_replicas_in_sync
  state.optimizer.apply([gradient * share for gradient in gradients])
  state.averages.update()
  return tf.linalg.global_norm(gradients)


def _seed(seed, step, purpose):
  seed = tf.random.experimental.stateless_fold_in(tf.constant([seed, 0], tf.int64), step)
  return tf.random.experimental.stateless_fold_in(seed, purpose)
