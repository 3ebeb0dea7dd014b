"""Replicas, microbatches and remat in every combination make the same training.

python -m pytest -s tests/long/test_combinations.py
"""

import itertools
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tests import small_model
from tests.trainers.test_train import variables

ROOT = pathlib.Path(__file__).parents[2]
REPLICAS, MICROBATCHES = (1, 2, 4), (1, 2, 8)
# The number of logical devices is fixed once TensorFlow has started.
SCRIPT = """
import sys
import tensorflow as tf
count = int(sys.argv[1])
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
from tests.long import test_combinations
test_combinations.train_all(sys.argv[2], count)
"""


def train_all(folder, replicas):
  """Trains with every number of microbatches, with and without remat."""
  from trainers import train

  settings = {"batch_size": 32, "train_steps": 20, "learning_rate": 1e-4}
  drawing = {"num_samples": 2, "samplers": ("ddim:1",)}
  flags = (*small_model.FLAGS, *small_model.flags(base_channels=64, **settings, **drawing))
  for microbatches, remat in itertools.product(MICROBATCHES, ("noremat", "remat")):
    model_dir = f"--model_dir={folder}/{replicas}_{microbatches}_{remat}"
    options = (model_dir, f"--microbatches={microbatches}", f"--{remat}")
    assert train.COMMAND.run(["train", *flags, *options]) == 0


@pytest.fixture(name="folder", scope="module")
def fixture_folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("combinations")
  for replicas in REPLICAS:
    command = [sys.executable, "-c", SCRIPT, str(replicas), str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
  return folder


def test_all_combinations_have_the_same_weights(folder):
  """Apart from the bias of attention's keys.

  Its gradient is exactly zero, and Adam turns the rounding of it into whole steps.
  """
  expected = variables(folder / "1_1_noremat")
  names = [name for name in expected if name.startswith("network/") and "qkv.Sbias" not in name]
  assert len(names) > 60
  for combination in sorted(path.name for path in folder.iterdir()):
    ours = variables(folder / combination)
    difference = max(float(np.max(np.abs(ours[name] - expected[name]))) for name in names)
    print(f"{combination}: {difference:.1e}")
    assert difference < 1e-5, combination
  assert len(list(folder.iterdir())) == 2 * len(REPLICAS) * len(MICROBATCHES)
