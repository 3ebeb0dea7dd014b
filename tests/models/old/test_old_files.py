"""A model folder and an export that version 0.1.0 has written; see README.md."""

import hashlib
import json
import os
import pathlib
import shutil
import tarfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import iddpm_tf
from iddpm_tf.models import model_dir as model_dir_lib

FOLDER = pathlib.Path(__file__).parent
SEED = 3  # Of the drawn images.


def variables(folder):
  """Returns all numbers of the newest checkpoint by name."""
  reader = tf.train.load_checkpoint(str(folder / "checkpoints"))
  return {
    name: reader.get_tensor(name)
    for name in sorted(reader.get_variable_to_shape_map())
    if not name.startswith(("_CHECKPOINTABLE", "save_counter"))
  }


def norms(arrays):
  """Returns the norm of the weights, of the averages and of the optimizer's variables."""
  return {
    part: float(
      np.sqrt(
        sum(
          np.sum(np.square(array, dtype=np.float64))
          for name, array in arrays.items()
          if name.startswith(f"{part}/")
        )
      )
    )
    for part in ("network", "averages", "optimizer")
  }


def describe_machine():
  """Returns what the last bits of results depend on."""
  with open("/proc/cpuinfo", encoding="utf-8") as file:
    lines = sorted({line for line in file if line.startswith(("model name", "flags"))})
  return {
    "cpu": hashlib.sha256("".join(lines).encode()).hexdigest(),
    "cores": os.cpu_count(),
    "tensorflow": tf.__version__,
    "keras": keras.__version__,
  }


def has_same_bits():
  """Returns whether this machine should give the bits of the machine that made the files."""
  expected = json.loads((FOLDER / "expected.json").read_text())
  return os.path.exists("/proc/cpuinfo") and expected["machine"] == describe_machine()


def assert_same_images(images, expected):
  assert images.shape == expected.shape and images.dtype == expected.dtype
  if has_same_bits():
    np.testing.assert_array_equal(images, expected)
  else:
    assert np.mean(np.abs(images.astype(int) - expected) > 1) < 0.01


@pytest.fixture(name="files", scope="module")
def fixture_files(tmp_path_factory):
  """The folder of the files."""
  folder = tmp_path_factory.mktemp("old")
  with tarfile.open(FOLDER / "files.tar.xz") as archive:
    archive.extractall(folder, filter="data")
  return folder


@pytest.fixture(name="drawn", scope="module")
def fixture_drawn(files):
  """The drawn images by sampler, uint8 [12, 8, 8, 1]."""
  return {
    name: np.load(files / f"drawn/{name}_samples_12x8x8x1.npz")["arr_0"]
    for name in ("ancestral_5", "ddim_5")
  }


def test_the_model_is_loaded_and_draws_the_same_images(files, drawn):
  model = iddpm_tf.load(files / "model", progress=False)
  assert (model.step, model.ema, model.num_classes) == (1, 0.9, 10)
  assert model.config.evaluation.best_score == "nll"
  assert model.config.data.download  # Version 3 has no such setting.
  for name, images in drawn.items():
    again = model.sample(12, sampler=name.replace("_", ":"), seed=SEED, progress=False)
    assert_same_images(again, images)


def test_the_best_checkpoint_is_known(files):
  best = model_dir_lib.ModelDir(files / "model").require_best()
  assert (best.score, best.step, best.ema) == ("nll", 1, 0.9)
  assert iddpm_tf.load(files / "model", best=True, progress=False).step == 1


def test_the_export_is_loaded_and_draws_the_same_images(files, drawn):
  exported = iddpm_tf.load(files / "saved_models/old")
  assert exported.samplers == ("ddim_5",)
  images = exported.sample(12, sampler="ddim:5", seed=SEED, progress=False)
  assert_same_images(images, drawn["ddim_5"])


def test_the_run_is_continued(files, tmp_path):
  expected = json.loads((FOLDER / "expected.json").read_text())
  folder = tmp_path / "resumed"
  shutil.copytree(files / "model", folder)
  config = model_dir_lib.ModelDir(folder).require_config().with_settings(train_steps=3)
  iddpm_tf.train(config, model_dir=folder, progress=False)
  lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
  assert [line["training_step"] for line in lines] == [1, 2, 3]
  nll = {str(line["training_step"]): line["scores"]["nll"] for line in lines}
  numbers = variables(folder)
  # The optimizer of version 0.1.0 rounded in another order.
  tolerance = 1e-5 if has_same_bits() else 0.02
  assert norms(numbers) == pytest.approx(expected["norms"], rel=tolerance)
  assert nll == pytest.approx(expected["nll"], rel=tolerance)
  best = model_dir_lib.ModelDir(folder).require_best()
  assert best.value == min(nll.values()) and best.step == int(min(nll, key=nll.get))
