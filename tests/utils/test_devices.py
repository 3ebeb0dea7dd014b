"""The devices of a process."""

import numpy as np
import tensorflow as tf

from iddpm_tf.utils import devices


def test_the_strategy_is_always_the_same():
  """Two strategies on the same devices would share their collective operations."""
  assert devices.make_strategy() is devices.make_strategy()


def test_a_processor_is_described():
  strategy = tf.distribute.MirroredStrategy(["CPU:0"])
  assert not devices.is_on_gpu(strategy)
  assert devices.describe(strategy).startswith("on the CPU: ")


def test_a_function_runs_on_one_device_as_it_is():
  strategy = tf.distribute.MirroredStrategy(["CPU:0"])
  double = devices.over_replicas(strategy, lambda x: 2 * tf.constant(x))
  np.testing.assert_array_equal(double(np.array([1, 2, 3])), [2, 4, 6])
