"""Adam whose moments start from zero at a later step, as for imported weights."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.training import optimizer as optimizer_lib

ROOT = pathlib.Path(__file__).parents[2]
GRADIENTS = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
START = 1000


def make(**options):
  optimizer = optimizer_lib.make_optimizer(config_lib.TrainingConfig(learning_rate=0.01, **options))
  variable = tf.Variable([1.0, -2.0, 3.0])
  optimizer.build([variable])
  return optimizer, variable


def checkpoint(optimizer, variable):
  """As `TrainState.checkpoint` lists them."""
  return tf.train.Checkpoint(
    optimizer={v.path: v.value for v in optimizer.variables}, variable=variable
  )


def apply(optimizer, variable, gradients):
  for gradient in gradients:
    optimizer.apply([tf.constant(gradient)], [variable])


def algorithm_2(gradients, rates):
  """The weights that `make`'s become: every moment from zero, whatever the step."""
  weights, m, v = np.array([1.0, -2.0, 3.0]), 0.0, 0.0
  for step, (gradient, rate) in enumerate(zip(gradients.astype(np.float64), rates, strict=True), 1):
    m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
    weights -= rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
  return weights


@pytest.mark.parametrize("start", (0, START, 1_500_000))
def test_moments_are_corrected_from_their_own_start(start):
  optimizer, variable = make()
  optimizer.start_at(start)
  apply(optimizer, variable, GRADIENTS)
  np.testing.assert_allclose(variable, algorithm_2(GRADIENTS, [0.01] * 6), rtol=1e-5)
  assert int(optimizer.iterations) == start + 6


def test_the_learning_rate_is_that_of_the_step():
  optimizer, variable = make(decay_steps=2000, train_steps=2000)
  optimizer.start_at(START)
  apply(optimizer, variable, GRADIENTS)
  rates = [0.01 * (1 - (START + i) / 2000) for i in range(6)]
  np.testing.assert_allclose(variable, algorithm_2(GRADIENTS, rates), rtol=1e-5)


def test_a_checkpoint_keeps_the_start(tmp_path):
  optimizer, variable = make()
  optimizer.start_at(START)
  apply(optimizer, variable, GRADIENTS[:3])
  path = checkpoint(optimizer, variable).write(str(tmp_path / "checkpoint"))
  optimizer, variable = make()
  checkpoint(optimizer, variable).read(path).assert_consumed()
  apply(optimizer, variable, GRADIENTS[3:])
  np.testing.assert_allclose(variable, algorithm_2(GRADIENTS, [0.01] * 6), rtol=1e-5)


# In a process of its own: the number of logical devices is fixed once TensorFlow has started.
SCRIPT = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tests.training import test_moments as t

def begin():
  with strategy.scope():
    return t.make()

@tf.function
def step(gradient):
  # Half of the gradient from each replica: they are summed.
  strategy.run(lambda: optimizer.apply([gradient / 2.0], [variable]))

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
optimizer, variable = begin()
optimizer.start_at(t.START)
for gradient in t.GRADIENTS[:3]:
  step(tf.constant(gradient))
path = t.checkpoint(optimizer, variable).write(sys.argv[1])
optimizer, variable = begin()
t.checkpoint(optimizer, variable).read(path).assert_consumed()
step = tf.function(step.python_function)
for gradient in t.GRADIENTS[3:]:
  step(tf.constant(gradient))
for copy in strategy.experimental_local_results(variable):
  t.np.testing.assert_allclose(copy, t.algorithm_2(t.GRADIENTS, [0.01] * 6), rtol=1e-5)
assert int(optimizer.iterations.value.numpy()) == t.START + 6
"""


def test_under_two_devices(tmp_path):
  subprocess.run([sys.executable, "-c", SCRIPT, tmp_path / "checkpoint"], cwd=ROOT, check=True)
  # And what two have made, one goes on with.
  optimizer, variable = make()
  checkpoint(optimizer, variable).read(str(tmp_path / "checkpoint")).assert_consumed()
  apply(optimizer, variable, GRADIENTS[3:])
  np.testing.assert_allclose(variable, algorithm_2(GRADIENTS, [0.01] * 6), rtol=1e-5)
