"""Decides in the graph which steps change the weights, and which are skipped."""

from collections.abc import Sequence

import tensorflow as tf

from iddpm_tf.training import flat

HISTORY = 128  # The number of gradient norms whose median is compared with.
_ENOUGH = 32  # Norms that must be known before any is compared.


class StepGuard(tf.Module):
  """Refuses gradients that are not finite, or far larger than those of recent steps.

  All replicas decide alike, because they get the same numbers.

  Attributes:
    norms: the gradient norms of the newest steps that were taken, a ring buffer; 0 where there is
      none yet.
    taken: the number of steps that were taken since the guard began.
    restarts: how often the run went back to a checkpoint. Each time it takes other noise.
  """

  def __init__(self, max_ratio: float):
    """Makes the guard; inside `strategy.scope()` if there is a strategy.

    Args:
      max_ratio: the largest norm in units of the median of recent ones; 0: any finite one.
    """
    super().__init__(name="step_guard")
    self._max_ratio = max_ratio
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

  def update(self, norm: tf.Tensor, skipped: tf.Tensor) -> None:
    """Keeps the norm of a step that was taken; outside the replicas.

    Args:
      norm: the norm of the gradient, `[]`.
      skipped: 1 if the step was skipped, otherwise 0, `[]`.
    """
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
