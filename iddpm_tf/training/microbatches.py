"""The gradients of a batch in equal parts, computed one after the other to save memory."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import keras
import tensorflow as tf

from iddpm_tf.diffusion import losses as losses_lib


class Gradients(NamedTuple):
  """Gradients with respect to the weights, in their order."""

  mean: list[tf.Tensor]  # The mean over the parts, that is over all images.
  part_squared_norm: tf.Tensor  # [], the mean over the parts of |gradient of one part|^2.


def accumulate(
  part_gradients: Callable[[Any, Any], tuple[losses_lib.Losses, list[tf.Tensor]]],
  parts: int,
  arrays: Any,
  variables: Sequence[keras.Variable],
) -> tuple[losses_lib.Losses, Gradients]:
  """Returns the losses of all images and the gradients of their mean.

  The parts are a loop of the graph, not of Python: the graph holds the network once, and memory
  holds the activations of one part.

  Args:
    part_gradients: maps the number of a part and its arrays to its `Losses`, `[N / parts]` each,
      and its gradients.
    parts: the number of parts, a divisor of N.
    arrays: tensors `[N, ...]`, in any structure.
    variables: the float32 variables of the gradients.
  """
  if parts == 1:
    losses, gradients = part_gradients(0, arrays)
    return losses, Gradients(gradients, squared_norm(gradients))
  # [N, ...] -> [parts, N / parts, ...]
  arrays = tf.nest.map_structure(
    lambda array: tf.reshape(array, [parts, -1, *array.shape[1:]]), arrays
  )

  def body(i, losses, sums, squares):
    part, gradients = part_gradients(i, tf.nest.map_structure(lambda array: array[i], arrays))
    losses = [array.write(i, values) for array, values in zip(losses, part, strict=True)]
    sums = [total + gradient for total, gradient in zip(sums, gradients, strict=True)]
    return i + 1, losses, sums, squares + squared_norm(gradients)

  start = (
    tf.constant(0),
    [tf.TensorArray(tf.float32, parts) for _ in losses_lib.Losses._fields],
    [tf.zeros(variable.shape) for variable in variables],
    tf.zeros([]),
  )
  _, losses, sums, squares = tf.while_loop(
    lambda i, *_: i < parts, body, start, parallel_iterations=1
  )
  return (
    losses_lib.Losses(*(array.concat() for array in losses)),
    Gradients([total / parts for total in sums], squares / parts),
  )


def squared_norm(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
  """Returns the sum of the squares of all elements, `[]`."""
  return tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in gradients])
