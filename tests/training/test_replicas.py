"""Any number of replicas and of microbatches makes the same steps on the same global batch."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]

# In processes of their own: the number of logical devices is fixed once TensorFlow has started.
SCRIPT = """
import dataclasses
import sys
import keras
import numpy as np
import tensorflow as tf
replicas = int(sys.argv[1])
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
from iddpm_tf import config as config_lib
from iddpm_tf.data import sources
from iddpm_tf.training import state as state_lib
from iddpm_tf.training import loop
from iddpm_tf.utils import devices as strategy_lib

# 64 channels: with one channel a normalised group, the gradients of the biases before it are
exactly zero, # and Adam blows up their rounding. whole = config_lib.Config(
    network=config_lib.NetworkConfig(
        base_channels=64, channel_multipliers=(1,), num_res_blocks=1, attention_resolutions=()),
    diffusion=config_lib.DiffusionConfig(
        diffusion_steps=4, timestep_sampler="loss_second_moment", objective="vlb"),
    data=config_lib.DataConfig(image_shape=(8, 8, 1), num_classes=10),
    training=config_lib.TrainingConfig(batch_size=32, learning_rate=1e-3, ema=(0.9,)))
strategy = strategy_lib.make_strategy()
assert strategy.num_replicas_in_sync == replicas
source = sources.load(whole.data, "train")
for microbatches, path in zip(map(int, sys.argv[2::2]), sys.argv[3::2]):
  keras.utils.clear_session()  # Variables have the same names each time. config =
  dataclasses.replace(whole, training=dataclasses.replace(whole.training,
  microbatches=microbatches)) with strategy.scope():
    state = state_lib.TrainState(config)
  iterator = iter(loop._batches(source, config, 0, strategy)) records = loop._make_steps(state,
  strategy)(iterator, tf.constant(8)) weights = {f"weight {v.path}": v.value.numpy() for v in
  state.network.trainable_variables} averages = {f"average {i}": v.numpy() for i, v in
  enumerate(state.averages.at_rate(0.9))} np.savez(path, **records._asdict(), **weights, **averages,
  p=state.timestep_sampler.probabilities())
"""


@pytest.fixture(name="results", scope="module")
def fixture_results(tmp_path_factory):
  """What (replicas, microbatches) have made."""
  folder, made = tmp_path_factory.mktemp("results"), {}
  for replicas, of_microbatches in ((1, (1, 4)), (2, (1, 2))):
    paths = {
      microbatches: folder / f"{replicas}_{microbatches}.npz" for microbatches in of_microbatches
    }
    arguments = [argument for item in paths.items() for argument in map(str, item)]
    subprocess.run([sys.executable, "-c", SCRIPT, str(replicas), *arguments], cwd=ROOT, check=True)
    for microbatches, path in paths.items():
      with np.load(path) as content:
        made[replicas, microbatches] = dict(content)
  return made


@pytest.mark.parametrize("parts", [(2, 1), (1, 4), (2, 2)])
def test_parts_of_the_batch_equal_the_whole(results, parts):
  one, other = results[1, 1], results[parts]
  assert one.keys() == other.keys() and len(one) > 50
  np.testing.assert_array_equal(one["t"], other["t"])
  assert np.ptp(one["p"]) > 0.01  # Adapted, hence fed by all parts' losses.
  for name in one.keys() - {"part_squared_norm"}:
    # Sums in another order; a weight has moved by up to 8e-3.
    np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=5e-5, err_msg=name)


def test_the_norms_of_parts_depend_on_their_size_alone(results):
  norms = {parts: result["part_squared_norm"] for parts, result in results.items()}
  np.testing.assert_allclose(norms[1, 1], np.square(results[1, 1]["grad_norm"]), rtol=1e-5)
  np.testing.assert_allclose(norms[1, 4], norms[2, 2], rtol=1e-3)
  # |.|^2 is convex, and parts differ.
  assert np.all(norms[1, 1] < norms[2, 1]) and np.all(norms[2, 1] < norms[2, 2])
