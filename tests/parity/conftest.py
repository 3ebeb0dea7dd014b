"""`pytest tests/parity --golden_dir=DIR` holds the project against another folder of numbers.

A test that takes `NAME_file` runs once for each golden file of that pattern.
"""

import pathlib

import numpy as np
import pytest

PATTERNS = {
  "space_timesteps_file": "space_timesteps*.json",
  "diffusion_file": "diffusion_*.npz",
  "unet_file": "unet_*.npz",
  "torch_file": "unet_*.pt",
  "train_file": "train_*.npz",
  "loss_second_moment_file": "loss_second_moment*.npz",
  "metrics_file": "metrics*.npz",
  "preprocess_file": "preprocess*.npz",
}
# Fixtures for those of a pattern that hold an array: only short processes come with whole loops.
HOLDING = {
  "loop_file": ("diffusion_file", "loop/ddpm"),
  "likelihood_file": ("diffusion_file", "bpd/noise"),
}
OWN = pathlib.Path(__file__).parents[1] / "golden"


def pytest_configure(config):
  folder = golden_dir(config)
  missing = [pattern for pattern in PATTERNS.values() if not any(folder.glob(pattern))]
  # Another folder may hold some kinds; the project's own holds all.
  if missing == list(PATTERNS.values()) or missing and folder == OWN:
    raise pytest.UsageError(
      f"{folder}: expected golden files, received none such as {', '.join(missing)}"
    )


def pytest_generate_tests(metafunc):
  for fixture in PATTERNS.keys() & set(metafunc.fixturenames):
    files = sorted(golden_dir(metafunc.config).glob(PATTERNS[fixture]))
    metafunc.parametrize(fixture, files, ids=[path.name for path in files])
  for fixture in HOLDING.keys() & set(metafunc.fixturenames):
    files = holding(golden_dir(metafunc.config), *HOLDING[fixture])
    metafunc.parametrize(fixture, files, ids=[path.name for path in files])


def holding(folder, kind, key):
  """The files of a kind that hold an array of that name."""
  files = []
  for path in sorted(folder.glob(PATTERNS[kind])):
    with np.load(path) as arrays:
      if key in arrays:
        files.append(path)
  return files


def golden_dir(config):
  return pathlib.Path(config.getoption("golden_dir", None) or OWN)
