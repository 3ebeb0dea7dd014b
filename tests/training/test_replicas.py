"""Two replicas make the steps of one on the same global batch."""

import pathlib
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).parents[2]

# In processes of their own: the number of logical devices is fixed once TensorFlow has started.
SCRIPT = """
import sys
import numpy as np
import tensorflow as tf
replicas, path = int(sys.argv[1]), sys.argv[2]
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
from iddpm_tf import config as config_lib
from iddpm_tf.data import sources
from iddpm_tf.training import state as state_lib
from trainers import loop
from trainers import strategy as strategy_lib

# 64 channels: with one channel a normalised group, the gradients of the biases before it are exactly zero,
# and Adam blows up their rounding.
config = config_lib.Config(
    network=config_lib.NetworkConfig(
        base_channels=64, channel_multipliers=(1,), num_res_blocks=1, attention_resolutions=()),
    diffusion=config_lib.DiffusionConfig(
        diffusion_steps=4, timestep_sampler="loss_second_moment", objective="vlb"),
    data=config_lib.DataConfig(image_shape=(8, 8, 1), num_classes=10),
    training=config_lib.TrainingConfig(batch_size=32, learning_rate=1e-3, ema=(0.9,)))
strategy = strategy_lib.make_strategy()
assert strategy.num_replicas_in_sync == replicas
with strategy.scope():
  state = state_lib.TrainState(config)
source = sources.load(config.data, "train")
iterator = iter(loop._batches(source, config, 0, strategy))
records = loop._make_steps(state, strategy)(iterator, tf.constant(8))
weights = {f"weight {v.path}": v.value.numpy() for v in state.network.trainable_variables}
averages = {f"average {i}": v.numpy() for i, v in enumerate(state.averages.at_rate(0.9))}
np.savez(path, **records._asdict(), **weights, **averages, p=state.timestep_sampler.probabilities())
"""


def test_two_replicas_equal_one(tmp_path):
  results = []
  for replicas in (1, 2):
    path = tmp_path / f"{replicas}.npz"
    subprocess.run([sys.executable, "-c", SCRIPT, str(replicas), path], cwd=ROOT, check=True)
    with np.load(path) as content:
      results.append(dict(content))
  one, two = results
  assert one.keys() == two.keys() and len(one) > 50
  np.testing.assert_array_equal(one["t"], two["t"])
  assert np.ptp(one["p"]) > 0.01  # Adapted, hence fed by both replicas' losses.
  for name, value in one.items():
    # Sums in another order; a weight has moved by up to 8e-3.
    np.testing.assert_allclose(value, two[name], rtol=1e-5, atol=5e-5, err_msg=name)
