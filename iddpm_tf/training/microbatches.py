"""The gradients of a batch in equal parts, one after the other: the memory of one part, and how they differ."""

from typing import NamedTuple

import tensorflow as tf

from iddpm_tf.diffusion import losses as losses_lib


class Gradients(NamedTuple):
  """Of the weights, in their order."""

  mean: list[tf.Tensor]  # Over the parts, that is over all images.
  part_squared_norm: tf.Tensor  # [], the mean of |gradient of a part|^2 over the parts.


def accumulate(part_gradients, parts, arrays, variables):
  """`Losses` of all images, and the `Gradients` of their mean.

  A loop of the graph, not of Python: there is one network in it, and one part's activations in memory.

  Args:
    part_gradients: a function of i and the arrays of part i, to `Losses` [N / parts] and the gradients.
    parts: how many; a divisor of N.
    arrays: tensors [N, ...], in any structure.
    variables: whose gradients they are; float32.
  """
  if parts == 1:
    losses, gradients = part_gradients(0, arrays)
    return losses, Gradients(gradients, squared_norm(gradients))
  # [parts, N / parts, ...]
  arrays = tf.nest.map_structure(
    lambda array: tf.reshape(array, [parts, -1, *array.shape[1:]]), arrays
  )

  def body(i, losses, sums, squares):
    part, gradients = part_gradients(i, tf.nest.map_structure(lambda array: array[i], arrays))
    losses = [array.write(i, values) for array, values in zip(losses, part, strict=True)]
    sums = [total + gradient for total, gradient in zip(sums, gradients, strict=True)]
    return i + 1, losses, sums, squares + squared_norm(gradients)

  begin = (
    tf.constant(0),
    [tf.TensorArray(tf.float32, parts) for _ in losses_lib.Losses._fields],
    [tf.zeros(variable.shape) for variable in variables],
    tf.zeros([]),
  )
  _, losses, sums, squares = tf.while_loop(
    lambda i, *_: i < parts, body, begin, parallel_iterations=1
  )
  return (
    losses_lib.Losses(*(array.concat() for array in losses)),
    Gradients([total / parts for total in sums], squares / parts),
  )


def squared_norm(gradients):
  """The sum of the squares of all their elements, []."""
  return tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in gradients])
