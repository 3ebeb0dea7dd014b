"""Graphs that TensorFlow does not optimize."""

import pytest
import tensorflow as tf

from iddpm_tf.utils import graph_optimizer

OPTION = "disable_meta_optimizer"


def is_disabled():
  return tf.config.optimizer.get_experimental_options().get(OPTION, False)


@pytest.fixture(name="_option", params=[False, True], autouse=True)
def fixture_option(request):
  """Begins with the optimizer on or off, and restores it."""
  before = is_disabled()
  tf.config.optimizer.set_experimental_options({OPTION: request.param})
  yield request.param
  tf.config.optimizer.set_experimental_options({OPTION: before})


def test_it_is_off_in_the_block_and_then_as_before(_option):
  with graph_optimizer.disabled():
    assert is_disabled()
    with graph_optimizer.disabled():
      pass
    assert is_disabled()
  assert is_disabled() == _option


def test_it_is_as_before_after_an_error(_option):
  with pytest.raises(KeyError), graph_optimizer.disabled():
    raise KeyError
  assert is_disabled() == _option
