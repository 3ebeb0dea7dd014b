"""AdamW and the schedule of its learning rate."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.training import flat
from iddpm_tf.training import optimizer as optimizer_lib


def make_weights():
  return flat.FlatVariable(flat.Layout([(3,)], ["float32"]), [tf.constant([1.0, -2.0, 3.0])])


def rates(steps, **settings):
  """Returns the learning rates of some steps."""
  config = config_lib.TrainingConfig(learning_rate=2.0, train_steps=10, **settings)
  schedule = optimizer_lib.make_optimizer(config, make_weights()).schedule
  return [float(schedule(tf.constant(step))) for step in steps]


def test_the_learning_rate_is_constant_by_default():
  assert rates([0, 10, 10**6]) == [2.0, 2.0, 2.0]


def test_the_warm_up_is_linear_and_does_not_begin_at_0():
  assert rates([0, 1, 3, 4, 5], warmup_steps=4) == pytest.approx([0.5, 1.0, 2.0, 2.0, 2.0])


def test_the_decay_is_linear_and_ends_at_0():
  assert rates([0, 5, 10, 11], decay_steps=10) == pytest.approx([2.0, 1.0, 0.0, 0.0])


@pytest.mark.parametrize("weight_decay", (0.0, 0.1))
def test_the_optimizer_is_algorithm_2(weight_decay):
  config = config_lib.TrainingConfig(learning_rate=0.01, weight_decay=weight_decay)
  ours = make_weights()
  optimizer = optimizer_lib.make_optimizer(config, ours)
  weights, m, v = np.array([1.0, -2.0, 3.0]), np.zeros(3), np.zeros(3)
  rng = np.random.default_rng(0)
  for step in range(1, 6):
    gradient = rng.standard_normal(3) * [1.0, 1e-8, 1e3]
    optimizer.apply(ours.layout.join([tf.constant(gradient, tf.float32)]))
    weights -= 0.01 * weight_decay * weights
    m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
    weights -= 0.01 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    np.testing.assert_allclose(ours.read()[0], weights, rtol=1e-5)
