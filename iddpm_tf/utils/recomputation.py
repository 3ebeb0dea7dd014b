"""Values that the backward pass computes again, so that they need no memory until then."""

from typing import Any

import keras


def not_before(x: Any, event: Any) -> Any:
  """Returns `x` so that what is computed from it is computed after `event`.

  Otherwise TensorFlow would find that a graph computes the same earlier, and keep those values. On
  other backends, the function returns `x` itself.

  Args:
    x: a tensor.
    event: a tensor, such as the gradient that arrives at a layer.
  """
  if keras.backend.backend() != "tensorflow":
    return x
  import tensorflow as tf

  with tf.control_dependencies([event]):
    return tf.identity(x)
