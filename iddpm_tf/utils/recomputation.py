"""Values that the backward pass computes again, so that they need no memory until then."""

from typing import Any

import keras


def not_before(x: Any, event: Any) -> Any:
  """Returns `x`, from which values are computed anew after `event`, in a graph of TensorFlow.

  TensorFlow finds that two computations of a graph are the same, and keeps the values of the first.
  Other backends get `x` itself.

  Args:
    x: a tensor.
    event: a tensor, such as the gradient that arrives at a layer.
  """
  if keras.backend.backend() != "tensorflow":
    return x
  import tensorflow as tf

  with tf.control_dependencies([event]):
    return tf.identity(x)
