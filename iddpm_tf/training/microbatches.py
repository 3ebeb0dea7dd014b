"""The gradients of a batch in equal parts, computed one after the other to save memory."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import tensorflow as tf


class Gradients(NamedTuple):
  """The mean gradient of all weights, as their layout joins it, and the size of its parts."""

  mean: tf.Tensor  # The mean over the parts, that is over all images.
  part_squared_norm: tf.Tensor  # [], the mean over the parts of |gradient of one part|^2.


def accumulate(
  part_gradients: Callable[[Any, Any], tuple[Any, tf.Tensor]],
  parts: int,
  arrays: Any,
  *,
  shape: Sequence[int],
  losses_class: type[Any],
) -> tuple[Any, Gradients]:
  """Returns the losses of all images and the gradients of their mean.

  The parts are a loop of the graph, not of Python: the graph holds the network once, and memory
  holds the activations of one part.

  Args:
    part_gradients: maps the number of a part and its arrays to its losses, `[N / parts]` each,
      and its gradient.
    parts: the number of parts, a divisor of N.
    arrays: tensors `[N, ...]`, in any structure.
    shape: the shape of the gradient.
    losses_class: the class of the losses, a NamedTuple.
  """
  if parts == 1:
    losses, gradient = part_gradients(0, arrays)
    return losses, Gradients(gradient, squared_norm(gradient))
  # [N, ...] -> [parts, N / parts, ...]
  arrays = tf.nest.map_structure(
    lambda array: tf.reshape(array, [parts, -1, *array.shape[1:]]), arrays
  )

  def body(i, losses, total, squares):
    part, gradient = part_gradients(i, tf.nest.map_structure(lambda array: array[i], arrays))
    losses = [array.write(i, values) for array, values in zip(losses, part, strict=True)]
    return i + 1, losses, total + gradient, squares + squared_norm(gradient)

  start = (
    tf.constant(0),
    [tf.TensorArray(tf.float32, parts) for _ in losses_class._fields],
    tf.zeros(shape),
    tf.zeros([]),
  )
  _, losses, total, squares = tf.while_loop(
    lambda i, *_: i < parts, body, start, parallel_iterations=1
  )
  return (
    losses_class(*(array.concat() for array in losses)),
    Gradients(total / parts, squares / parts),
  )


def squared_norm(gradient: tf.Tensor) -> tf.Tensor:
  """Returns the sum of the squares of all elements, `[]`."""
  return 2.0 * tf.nn.l2_loss(gradient)
