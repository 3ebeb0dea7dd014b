"""Adam with moments that start from zero at a later step, as for imported weights."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.training import flat
from iddpm_tf.training import optimizer as optimizer_lib
from iddpm_tf.utils import devices

GRADIENTS = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
RATES = [0.01] * len(GRADIENTS)
START = 1000


def make_optimizer(**settings):
  """Returns an optimizer, and the weights that it updates."""
  config = config_lib.TrainingConfig(learning_rate=0.01, **settings)
  weights = flat.FlatVariable(flat.Layout([(3,)], ["float32"]), [tf.constant([1.0, -2.0, 3.0])])
  return optimizer_lib.make_optimizer(config, weights), weights


def make_checkpoint(optimizer, weights):
  """Returns a checkpoint that lists the variables as `TrainState.checkpoint` does."""
  return tf.train.Checkpoint(
    optimizer=optimizer.checkpointed(["x"]), weights=weights.checkpointed(["x"])
  )


def apply(optimizer, weights, gradients):
  for gradient in gradients:
    optimizer.apply(weights.layout.join([tf.convert_to_tensor(gradient)]))


def assert_close(weights, expected):
  np.testing.assert_allclose(weights.read()[0], expected, rtol=1e-5)


def algorithm_2(rates=RATES):
  """Returns the weights after all gradients, with moments that start from zero."""
  weights, m, v = np.array([1.0, -2.0, 3.0]), 0.0, 0.0
  for step, (gradient, rate) in enumerate(zip(GRADIENTS.astype(np.float64), rates, strict=True), 1):
    m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
    weights -= rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
  return weights


@pytest.mark.parametrize("start", (0, START, 1_500_000))
def test_the_bias_of_moments_is_corrected_from_their_own_start(start):
  optimizer, weights = make_optimizer()
  optimizer.start_at(start)
  apply(optimizer, weights, GRADIENTS)
  assert_close(weights, algorithm_2())
  assert int(optimizer.iterations) == start + 6


def test_the_learning_rate_is_that_of_the_step():
  optimizer, weights = make_optimizer(decay_steps=2000, train_steps=2000)
  optimizer.start_at(START)
  apply(optimizer, weights, GRADIENTS)
  rates = [0.01 * (1 - (START + i) / 2000) for i in range(6)]
  assert_close(weights, algorithm_2(rates))


def test_a_checkpoint_holds_the_start(tmp_path):
  optimizer, weights = make_optimizer()
  optimizer.start_at(START)
  apply(optimizer, weights, GRADIENTS[:3])
  path = make_checkpoint(optimizer, weights).write(str(tmp_path / "checkpoint"))
  optimizer, weights = make_optimizer()
  make_checkpoint(optimizer, weights).read(path).assert_consumed()
  apply(optimizer, weights, GRADIENTS[3:])
  assert_close(weights, algorithm_2())


def train_on_two_devices(path):
  """Takes three steps, writes a checkpoint, and takes three steps from it; see test_replicas.py."""
  strategy = devices.make_strategy()
  assert strategy.num_replicas_in_sync == 2

  def begin():
    with strategy.scope():
      return make_optimizer()

  def take_steps(optimizer, weights, gradients):
    @tf.function(autograph=False)
    def step(gradient):
      strategy.run(lambda: apply(optimizer, weights, [gradient]))

    for gradient in gradients:
      step(tf.constant(gradient))

  optimizer, weights = begin()
  optimizer.start_at(START)
  take_steps(optimizer, weights, GRADIENTS[:3])
  make_checkpoint(optimizer, weights).write(path)
  optimizer, weights = begin()
  make_checkpoint(optimizer, weights).read(path).assert_consumed()
  take_steps(optimizer, weights, GRADIENTS[3:])
  for copy in strategy.experimental_local_results(weights.variable):
    np.testing.assert_allclose(weights.layout.split(copy)[0], algorithm_2(), rtol=1e-5)
  assert int(optimizer.iterations.numpy()) == START + 6
