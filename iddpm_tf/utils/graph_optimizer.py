"""TensorFlow's graph optimizer, Grappler."""

from collections.abc import Iterator
import contextlib

import tensorflow as tf

_OPTION = "disable_meta_optimizer"


@contextlib.contextmanager
def disabled() -> Iterator[None]:
  """Lets TensorFlow not optimize the graphs that are run for the first time in the block.

  A graph that is run both inside and outside of such a block is prepared twice.
  """
  before = tf.config.optimizer.get_experimental_options().get(_OPTION, False)
  tf.config.optimizer.set_experimental_options({_OPTION: True})
  try:
    yield
  finally:
    tf.config.optimizer.set_experimental_options({_OPTION: before})
