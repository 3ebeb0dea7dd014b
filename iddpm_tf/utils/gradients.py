"""The memory of graphs with gradients of their own."""

from collections.abc import Iterator
import contextlib

from tensorflow.python.eager import record
from tensorflow.python.framework import ops


@contextlib.contextmanager
def forgotten_custom_gradients() -> Iterator[None]:
  """Lets the graphs that are traced in the block be freed after it.

  TensorFlow registers the gradient of each call of a function with a custom gradient, such as
  `tf.nn.silu`, under a name of its own, and never deletes it. The gradient holds the graph, and the
  graph holds the weights: each model and each training of a process would keep its memory for ever.
  After the block, `tf.gradients` does not find the gradients of the block; functions that were
  traced go on working, and so does a `tf.GradientTape` around the block.
  """
  # There is no public access. Should the name change, the memory is kept, as without this function.
  registered = getattr(ops.gradient_registry, "_registry", {})
  before = set(registered)
  try:
    yield
  finally:
    for name in set(registered) - before:
      if name.startswith("CustomGradient-"):
        del registered[name]


def may_be_recorded() -> bool:
  """Returns whether a `tf.GradientTape` may record what is computed now."""
  # There is no public access.
  return record.could_possibly_record()
