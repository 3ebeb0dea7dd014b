"""Arrays of several shapes as parts of one variable.

A network has hundreds of weights, most of them small. As one array, one kernel updates them, one
operation casts them, and one reduction sums their gradients over the replicas.
"""

from collections.abc import Callable
from collections.abc import Sequence
import functools
import itertools
import math

import numpy as np
import tensorflow as tf

# The width of a row in elements. Each part begins at a row. Because a row is a multiple of 64 bytes
# in every type, TensorFlow splits the array without a copy.
_WIDTH = 32


class Layout:
  """Where arrays lie in one array, `[rows, 32]`.

  Arrays of the same type of computation lie together, so that one operation casts all of them.

  Attributes:
    shapes: the shapes of the arrays.
    dtypes: the types in which the arrays are used.
    flat_shape: the shape of all arrays in one.
  """

  def __init__(self, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[str]):
    self.shapes, self.dtypes = list(map(tuple, shapes)), list(dtypes)
    self._groups = [
      (dtype, [index for index, other in enumerate(self.dtypes) if other == dtype])
      for dtype in sorted(set(self.dtypes))
    ]
    self._rows = [-(-math.prod(shape) // _WIDTH) for shape in self.shapes]
    order = [index for _, indices in self._groups for index in indices]
    ends = dict(zip(order, itertools.accumulate(self._rows[index] for index in order)))
    self._starts = [ends[index] - rows for index, rows in enumerate(self._rows)]
    self.flat_shape = (sum(self._rows), _WIDTH)

  def split(self, flat: tf.Tensor, *, cast: bool = False) -> list[tf.Tensor]:
    """Returns the arrays.

    Args:
      flat: all arrays in one, float32 `[rows, 32]`.
      cast: whether to return the arrays in the types in which they are used, not in float32.
    """
    arrays: list[tf.Tensor] = [None] * len(self.shapes)
    sizes = [sum(self._rows[index] for index in indices) for _, indices in self._groups]
    for (dtype, indices), group in zip(self._groups, tf.split(flat, sizes)):
      values = tf.cast(group, dtype) if cast else group
      parts = tf.split(values, [self._rows[index] for index in indices])
      for index, part in zip(indices, parts):
        arrays[index] = self._unpadded(part, self.shapes[index])
    return arrays

  def part(self, flat: np.ndarray, index: int) -> np.ndarray:
    """Returns one of the arrays of `flat`, float32 `[rows, 32]`, without a copy."""
    start, shape = self._starts[index], self.shapes[index]
    rows = flat[start : start + self._rows[index]]
    return rows.reshape(-1)[: math.prod(shape)].reshape(shape)

  def repeat_over_rows(self, values: Sequence[int]) -> tf.Tensor:
    """Returns for each row the value of the array that it belongs to, int32 `[rows]`.

    Args:
      values: one value for each array.
    """
    order = [index for _, indices in self._groups for index in indices]
    return tf.repeat([values[index] for index in order], [self._rows[index] for index in order])

  def join(self, arrays: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns all arrays in one, float32 `[rows, 32]`.

    Args:
      arrays: the arrays, in float32 or in the types in which they are used.
    """
    groups = []
    for _, indices in self._groups:
      parts = [self._padded(arrays[index], index) for index in indices]
      groups.append(tf.cast(tf.concat(parts, axis=0), tf.float32))
    return groups[0] if len(groups) == 1 else tf.concat(groups, axis=0)

  def _unpadded(self, part, shape):
    size = math.prod(shape)
    if size % _WIDTH:
      part = tf.reshape(part, [-1])[:size]
    return tf.reshape(part, shape)

  def _padded(self, array, index):
    rows, size = self._rows[index], math.prod(self.shapes[index])
    if rows * _WIDTH > size:
      array = tf.pad(tf.reshape(array, [size]), [[0, rows * _WIDTH - size]])
    return tf.reshape(array, [rows, _WIDTH])


class FlatVariable:
  """Arrays that lie in one variable.

  Attributes:
    layout: where the arrays lie.
    variable: the variable, float32 `[rows, 32]`.
  """

  def __init__(self, layout: Layout, values: Sequence[tf.Tensor] | None = None):
    """Makes the variable; inside `strategy.scope()` if there is a strategy.

    Args:
      layout: where the arrays lie.
      values: the initial values of the arrays. None is zeros.
    """
    self.layout = layout
    self.variable = tf.Variable(
      tf.zeros(layout.flat_shape) if values is None else layout.join(values),
      trainable=False,
      # Replicas hold the same numbers.
      aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )

  def __len__(self) -> int:
    return len(self.layout.shapes)

  @property
  def handle(self) -> tf.Tensor:
    """The resource that kernels update; in replica context, the one of the replica."""
    return self.variable.handle

  def read(self, *, cast: bool = False) -> list[tf.Tensor]:
    """Returns the arrays; see `Layout.split`."""
    return self.layout.split(self.variable.read_value(), cast=cast)

  def assign(self, values: "Sequence[tf.Tensor] | FlatVariable") -> None:
    """Sets all arrays."""
    if isinstance(values, FlatVariable):
      self.variable.assign(values.variable)
    else:
      self.variable.assign(self.layout.join([tf.convert_to_tensor(value) for value in values]))

  def is_finite(self) -> bool:
    """Returns whether all numbers are finite."""
    return bool(tf.reduce_all(tf.math.is_finite(self.variable.read_value())))

  def checkpointed(self, names: Sequence[str], *, copied: bool = False) -> dict[str, tf.Module]:
    """Returns an object for each array, which a checkpoint keeps as it keeps a variable.

    The arrays change when all objects have been restored.

    Args:
      names: the names of the arrays, in their order, all different.
      copied: whether the objects hold the values of now; otherwise, of when they are first saved.

    Returns:
      The objects by name. They serve one restore.
    """
    assert len(set(names)) == len(names) == len(self), "two arrays have the same name"

    @functools.cache
    def values():
      # On the CPU this copies nothing: what changes the variable next leaves this array as it is,
      # and takes a new one.
      with tf.device("CPU:0"):
        return np.asarray(tf.identity(self.variable.read_value()))

    if copied:
      values()
    restored: dict[int, tf.Tensor] = {}
    return {name: _Part(self, index, values, restored) for index, name in enumerate(names)}


class _Part(tf.Module):
  """Saves and restores one array of a `FlatVariable`, by TensorFlow's protocol for checkpoints."""

  _KEY = "VARIABLE_VALUE"  # As of a variable, so that checkpoints do not depend on the layout.

  def __init__(
    self,
    flat: FlatVariable,
    index: int,
    values: Callable[[], np.ndarray],
    restored: dict[int, tf.Tensor],
  ):
    """Makes a part.

    Args:
      flat: all arrays.
      index: the number of the array.
      values: returns all arrays in host memory.
      restored: the arrays that have been restored, which all parts share.
    """
    super().__init__()
    # In a function, because attributes that hold variables would be saved as well.
    self._all = lambda: (flat, index, values, restored)

  def _serialize_to_tensors(self):
    flat, index, values, _ = self._all()
    # NumPy cuts out an array without any work; an operation would take longer than all the rest.
    with tf.device("CPU:0"):
      return {self._KEY: tf.constant(flat.layout.part(values(), index))}

  def _restore_from_tensors(self, restored_tensors):
    flat, index, _, restored = self._all()
    restored[index] = tf.ensure_shape(restored_tensors[self._KEY], flat.layout.shapes[index])
    if len(restored) == len(flat):
      flat.assign([restored[number] for number in range(len(flat))])
      restored.clear()


def copy_of_all(module: tf.Module) -> tf.Module:
  """Returns a module with copies of the variables that are attributes of a module."""
  copy = tf.Module()
  for name, value in vars(module).items():
    if isinstance(value, tf.Variable):
      setattr(copy, name, copy_of(value))
  return copy


def copy_of(variable: tf.Variable) -> tf.Variable:
  """Returns a variable in host memory with the value of now."""
  with tf.device("CPU:0"):
    return tf.Variable(variable.read_value(), trainable=False)
