"""Golden files of the authors' numbers.

A test with a parameter such as `diffusion_file` runs once for each golden file of that kind. Other
golden files are compared by `pytest tests/parity --golden_dir=DIR`.
"""

import pathlib

import numpy as np
import pytest

PATTERNS = {
  "space_timesteps_file": "space_timesteps*.json",
  "diffusion_file": "diffusion_*.npz",
  # Of both code bases of the authors: unet_*.npz and adm_unet_*.npz.
  "unet_file": "*unet_*.npz",
  "torch_file": "*unet_*.pt",
  "classifier_file": "adm_classifier_*.npz",
  "classifier_torch_file": "adm_classifier_*.pt",
  "train_file": "train_*.npz",
  "guided_file": "guided_*.npz",
  "loss_second_moment_file": "loss_second_moment*.npz",
  "metrics_file": "metrics*.npz",
  "preprocess_file": "preprocess*.npz",
}
# Files that hold an array of a name. Only those of short processes hold whole loops.
HOLDING = {
  "loop_file": ("diffusion_file", "loop/ddpm"),
  "likelihood_file": ("diffusion_file", "bpd/noise"),
  "guided_loop_file": ("guided_file", "loop/noise"),
}
OWN = pathlib.Path(__file__).parents[1] / "golden"


def pytest_configure(config):
  folder = golden_dir(config)
  missing = [pattern for pattern in PATTERNS.values() if not any(folder.glob(pattern))]
  # The project's own folder must hold all kinds. Another folder may hold some.
  if missing and (len(missing) == len(PATTERNS) or folder == OWN):
    raise pytest.UsageError(
      f"{folder}: expected golden files, received none such as {', '.join(missing)}"
    )


@pytest.fixture(autouse=True, scope="module")
def fixture_optimized_graphs():
  """Lets TensorFlow optimize the graphs, as it does for users."""
  import tensorflow as tf

  tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
  yield
  tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def pytest_generate_tests(metafunc):
  for fixture in PATTERNS.keys() & set(metafunc.fixturenames):
    files = sorted(golden_dir(metafunc.config).glob(PATTERNS[fixture]))
    metafunc.parametrize(fixture, files, ids=[path.name for path in files])
  for fixture in HOLDING.keys() & set(metafunc.fixturenames):
    files = holding(golden_dir(metafunc.config), *HOLDING[fixture])
    metafunc.parametrize(fixture, files, ids=[path.name for path in files])


def holding(folder, kind, key):
  """Returns the files of a kind that hold an array of a name."""
  files = []
  for path in sorted(folder.glob(PATTERNS[kind])):
    with np.load(path) as arrays:
      if key in arrays:
        files.append(path)
  return files


def golden_dir(config):
  """Returns the folder of golden files."""
  return pathlib.Path(config.getoption("golden_dir", None) or OWN)
