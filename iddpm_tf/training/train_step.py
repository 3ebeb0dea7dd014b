"""One optimizer step of one replica."""

from collections.abc import Mapping
import functools
from typing import Any
from typing import NamedTuple

import tensorflow as tf

from iddpm_tf.training import microbatches
from iddpm_tf.training import state as state_lib
from iddpm_tf.training import step_guard
from iddpm_tf.training import tasks

# The purposes of a step's random numbers.
_TIMESTEPS, _NOISE, _DROPOUT, _LABELS = range(4)


class StepRecord(NamedTuple):
  """A record of one step of a diffusion model. `N` is the number of images of the replica."""

  t: tf.Tensor  # int32 [N]
  weights: tf.Tensor  # [N], 1 / (T p_t): means weighted by them are as if t were uniform.
  loss: tf.Tensor  # [N], the objective of each image, not weighted.
  mse: tf.Tensor  # [N], L_simple.
  vlb: tf.Tensor  # [N], the weighted L_vlb.
  grad_norm: tf.Tensor  # [], the norm of the mean gradient of all replicas.
  part_squared_norm: (
    tf.Tensor
  )  # [], the mean of |gradient|^2 over the microbatches of all replicas.
  skipped: tf.Tensor  # [], 1 if the step changed no weights, otherwise 0.
  loss_scale: tf.Tensor  # [], the scale of the loss in float16; 0 where there is none.
  # [groups], the norms of the gradient by group of layers if the step was skipped, otherwise 0.
  group_norms: tf.Tensor


class ClassifierRecord(NamedTuple):
  """A record of one step of a classifier. The other fields are those of `StepRecord`."""

  t: tf.Tensor  # int32 [N]
  weights: tf.Tensor  # [N]
  loss: tf.Tensor  # [N], the cross-entropy of each image, not weighted.
  accuracy: tf.Tensor  # [N], 1 where the class is right, otherwise 0.
  grad_norm: tf.Tensor  # []
  part_squared_norm: tf.Tensor  # []
  skipped: tf.Tensor  # []
  loss_scale: tf.Tensor  # []
  group_norms: tf.Tensor  # [groups]


# The record of a step, by the class of its losses, whose fields it has.
RECORDS: dict[Any, Any] = {
  tasks.DiffusionTask.losses: StepRecord,
  tasks.ClassifierTask.losses: ClassifierRecord,
}
Record = StepRecord | ClassifierRecord


class Applied(NamedTuple):
  """Holds what `apply_gradient` did: fields of the `StepRecord`."""

  grad_norm: tf.Tensor
  skipped: tf.Tensor
  group_norms: tf.Tensor


def per_image(state: state_lib.TrainState) -> tuple[str, ...]:
  """Returns the fields of a step's record that have a value for each image."""
  return ("t", "weights", *state.task.losses._fields)


def train_step(state: state_lib.TrainState, batch: Mapping[str, tf.Tensor]) -> Record:
  """Updates the state by this replica's part of a batch; in replica context.

  Noise and timesteps are drawn for the whole batch from (seed, step), and each replica takes its
  part. So any number of replicas and microbatches makes the same step. Only the masks of dropout
  depend on the number of parts.

  Args:
    state: the state of the training.
    batch: `image` float32 `[N, H, W, C]` and `label` int32 `[N]`.
  """
  replica = tf.distribute.get_replica_context()
  count = tf.shape(batch["image"])[0]
  total = count * replica.num_replicas_in_sync
  seed_for = functools.partial(
    _seed,
    state.config.training.seed,
    state.step.read_value(),
    state.guard.restarts.read_value(),
  )

  def own_part(whole):
    start = replica.replica_id_in_sync_group * count
    return whole[start : start + count]

  t, weights = map(own_part, state.timestep_sampler.sample(total, seed_for(_TIMESTEPS)))
  noise_shape = tf.concat([[total], batch["image"].shape[1:]], 0)
  noise = own_part(tf.random.stateless_normal(noise_shape, seed_for(_NOISE), alg="philox"))
  if rate := state.config.network.label_dropout:
    hidden = own_part(tf.random.stateless_uniform([total], seed_for(_LABELS), alg="philox")) < rate
    batch = {**batch, "label": tf.where(hidden, state.config.num_classes, batch["label"])}
  compute = functools.partial(loss_and_gradients, state)
  if state.config.training.graph_optimizer == "xla":
    # Not the whole step, so that the sums over the replicas stay those of the strategy.
    compute = tf.function(compute, autograph=False, jit_compile=True)
  parts, dropout_seed = state.config.training.microbatches, seed_for(_DROPOUT)

  def part_gradients(i, arrays):
    # Every part of every replica has its own masks.
    number = replica.replica_id_in_sync_group * parts + i
    seed = dropout_seed + tf.stack([0, tf.cast(number, dropout_seed.dtype)])
    part, t, weights, noise = arrays
    return compute(part, t, weights, noise, seed)

  losses, gradients = microbatches.accumulate(
    part_gradients,
    parts,
    (batch, t, weights, noise),
    shape=state.weights.layout.flat_shape,
    losses_class=state.task.losses,
  )
  means = tf.stack([gradients.part_squared_norm, tf.reduce_mean(losses.loss)])
  part_squared_norm, loss = tf.unstack(replica.all_reduce(tf.distribute.ReduceOp.MEAN, means))
  scale = state.guard.loss_scale.read_value()
  applied = apply_gradient(state, gradients.mean, loss)._asdict()
  return RECORDS[state.task.losses](
    t,
    weights,
    *losses,
    part_squared_norm=part_squared_norm,
    loss_scale=scale,
    **applied,
  )


def loss_and_gradients(
  state: state_lib.TrainState,
  batch: Mapping[str, tf.Tensor],
  t: tf.Tensor,
  weights: tf.Tensor,
  noise: tf.Tensor,
  dropout_seed: tf.Tensor,
) -> tuple[Any, tf.Tensor]:
  """Returns the losses of each image, and the gradient of their weighted mean (Eq. 18).

  Args:
    state: the state of the training.
    batch: `image` float32 `[N, H, W, C]` and `label` int32 `[N]`.
    t: timesteps, int32 `[N]`.
    weights: the weights of the losses, float32 `[N]`.
    noise: standard normal noise, float32 `[N, H, W, C]`.
    dropout_seed: the seed of dropout's masks, int64 `[2]`.

  Returns:
    The losses of the state's task, `[N]` each, and the gradient with respect to all weights, as
    their layout joins it.
  """
  with tf.GradientTape(watch_accessed_variables=False) as tape:
    # In the types in which the network uses them: one operation casts all weights, and one all
    # gradients.
    parameters = state.weights.read(cast=True)
    tape.watch(parameters)
    losses = state.task.compute(
      state.network,
      tasks.Batch(batch["image"], batch["label"], t, noise),
      parameters,
      dropout_seed,
    )
    mean = tf.reduce_mean(losses.loss * weights)
    if state.guard.scales_loss:
      mean *= state.guard.loss_scale.read_value()
  gradients = tape.gradient(mean, parameters)
  # The gradient of the label embedding is sparse.
  gradient = state.weights.layout.join(list(map(tf.convert_to_tensor, gradients)))
  if state.guard.scales_loss:
    gradient /= state.guard.loss_scale.read_value()
  return losses, gradient


def apply_gradient(state: state_lib.TrainState, gradient: tf.Tensor, loss: tf.Tensor) -> Applied:
  """Updates weights and averages by the replicas' mean gradient, unless the guard refuses it.

  Args:
    state: the state of the training.
    gradient: the gradient of this replica, as the layout of the weights joins it.
    loss: the mean loss of all replicas, `[]`.
  """
  replica = tf.distribute.get_replica_context()
  gradient = replica.all_reduce(tf.distribute.ReduceOp.MEAN, gradient)
  norm = tf.sqrt(microbatches.squared_norm(gradient))
  layout, paths = state.weights.layout, state.paths

  def take():
    state.optimizer.apply(gradient)
    state.averages.update()
    return tf.constant(0.0), tf.zeros([len(step_guard.group_names(paths))])

  def skip():
    state.optimizer.skip()
    return tf.constant(1.0), step_guard.group_norms(layout, gradient, paths)

  skipped, group_norms = tf.cond(state.guard.accepts(norm, loss), take, skip)
  return Applied(norm, skipped, group_norms)


def _seed(seed, step, restarts, purpose):
  seed = tf.random.experimental.stateless_fold_in(tf.constant([seed, 0], tf.int64), step)
  # Without restarts, the seed is that of earlier versions.
  other = tf.random.experimental.stateless_fold_in(seed, restarts)
  seed = tf.where(restarts > 0, other, seed)
  return tf.random.experimental.stateless_fold_in(seed, purpose)
