"""Decides in the graph which steps change the weights, and which are skipped."""

from collections.abc import Sequence

import tensorflow as tf

from iddpm_tf.training import flat

HISTORY = 128  # The number of gradient norms whose median is compared with.
_ENOUGH = 32  # Norms that must be known before any is compared.
# The loss scale of float16 (Micikevicius et al., 2018): it begins here, is halved where a gradient
# overflows, and doubled after so many steps without.
FIRST_SCALE, _MAX_SCALE, _GROWTH_STEPS = 2.0**15, 2.0**24, 2000


class StepGuard(tf.Module):
  """Refuses gradients that are not finite, or far larger than those of recent steps.

  All replicas decide alike, because they get the same numbers.

  Attributes:
    norms: the gradient norms of the newest steps that were taken, a ring buffer; 0 where there is
      none yet.
    taken: the number of steps that were taken since the guard began.
    restarts: how often the run went back to a checkpoint. Each time it takes other noise.
    loss_scale: what the loss is multiplied by before its gradient is computed, so that small
      gradients do not vanish in float16; 0 where nothing is scaled.
    scaled_steps: the number of steps since the loss scale has changed.
  """

  def __init__(self, max_ratio: float, *, scales_loss: bool = False):
    """Makes the guard; inside `strategy.scope()` if there is a strategy.

    Args:
      max_ratio: the largest norm in units of the median of recent ones; 0: any finite one.
      scales_loss: whether the network computes in float16.
    """
    super().__init__(name="step_guard")
    self._max_ratio, self.scales_loss = max_ratio, scales_loss
    self.loss_scale = tf.Variable(
      FIRST_SCALE if scales_loss else 0.0, trainable=False, name="loss_scale"
    )
    self.scaled_steps = tf.Variable(0, dtype=tf.int64, trainable=False, name="scaled_steps")
    self.norms = tf.Variable(tf.zeros([HISTORY]), trainable=False, name="norms")
    self.taken = tf.Variable(0, dtype=tf.int64, trainable=False, name="taken")
    self.restarts = tf.Variable(0, dtype=tf.int64, trainable=False, name="restarts")

  def limit(self) -> tf.Tensor:
    """Returns the largest gradient norm that is accepted, `[]`, which may be infinite."""
    if not self._max_ratio:
      return tf.constant(float("inf"))
    known = tf.cast(tf.minimum(self.taken.read_value(), HISTORY), tf.int32)
    # The norms that are known come first.
    median = tf.sort(self.norms.read_value(), direction="DESCENDING")[known // 2]
    return tf.where(known >= _ENOUGH, self._max_ratio * median, float("inf"))

  def accepts(self, norm: tf.Tensor, loss: tf.Tensor) -> tf.Tensor:
    """Returns whether a step is taken, bool `[]`.

    Args:
      norm: the norm of the gradient of all replicas, `[]`.
      loss: the mean of their losses, `[]`.
    """
    return tf.math.is_finite(norm) & tf.math.is_finite(loss) & (norm <= self.limit())

  def fit_precision(self) -> None:
    """Begins the loss scale anew if the restored run had another precision."""
    if self.scales_loss != bool(self.loss_scale.numpy() > 0):
      self.loss_scale.assign(FIRST_SCALE if self.scales_loss else 0.0)
      self.scaled_steps.assign(0)

  def _update_scale(self, finite: tf.Tensor) -> None:
    steps = self.scaled_steps + 1
    grows = steps >= _GROWTH_STEPS
    scale = self.loss_scale.read_value()
    kept = tf.where(grows, tf.minimum(2.0 * scale, _MAX_SCALE), scale)
    self.loss_scale.assign(tf.where(finite, kept, tf.maximum(0.5 * scale, 1.0)))
    self.scaled_steps.assign(tf.where(finite & ~grows, steps, 0))

  def update(self, norm: tf.Tensor, skipped: tf.Tensor) -> None:
    """Keeps the norm of a step that was taken; outside the replicas.

    Args:
      norm: the norm of the gradient, `[]`.
      skipped: 1 if the step was skipped, otherwise 0, `[]`.
    """
    if self.scales_loss:
      self._update_scale(tf.math.is_finite(norm))
    taken = skipped == 0
    index = tf.cast(self.taken % HISTORY, tf.int32)
    norms = tf.tensor_scatter_nd_update(self.norms, [[index]], [norm])
    self.norms.assign(tf.where(taken, norms, self.norms))
    self.taken.assign_add(tf.cast(taken, tf.int64))


def group_names(paths: Sequence[str]) -> list[str]:
  """Returns the names of the groups of layers, such as input, middle and output, in their order.

  Args:
    paths: the paths of the weights, such as `unet/input_0_0/kernel`.
  """
  return list(dict.fromkeys(map(_group_of, paths)))


def group_norms(layout: flat.Layout, values: tf.Tensor, paths: Sequence[str]) -> tf.Tensor:
  """Returns the norm of each group of layers, `[groups]`.

  Args:
    layout: where the arrays lie.
    values: the weights or their gradient, as the layout joins them.
    paths: the paths of the weights.
  """
  names = group_names(paths)
  groups = layout.repeat_over_rows([names.index(_group_of(path)) for path in paths])
  squares = tf.reduce_sum(tf.square(values), axis=1)
  return tf.sqrt(tf.math.unsorted_segment_sum(squares, groups, len(names)))


def _group_of(path: str) -> str:
  return path.split("/")[1].split("_", maxsplit=1)[0]
