"""An export of a small trained model, and the development server of it."""

import subprocess
import sys

import numpy as np
import pytest

from tests.trainers import conftest
from trainers import export
from trainers import sample
from trainers.cli import command

fixture_model_dir = conftest.fixture_model_dir
fixture_run = conftest.fixture_run


def export_model(model_dir, folder, *flags):
  assert (
    command.run(
      export.main,
      export.Options,
      export.__doc__,
      ["export", f"--model_dir={model_dir}", f"--output_dir={folder}", "--name=small", *flags],
    )
    == 0
  )


@pytest.fixture(name="models_dir", scope="session")
def fixture_models_dir(model_dir, tmp_path_factory):
  """saved_models/ with version 1 of `small`."""
  folder = tmp_path_factory.mktemp("served") / "saved_models"
  export_model(model_dir, folder, "--trajectory=4")
  return folder


@pytest.fixture(name="drawn", scope="session")
def fixture_drawn(model_dir, tmp_path_factory):
  """{sampler: uint8 images of seeds 0 to 11, with labels i mod 10}, as `trainers.sample` draws them."""
  folder = tmp_path_factory.mktemp("drawn")
  assert (
    command.run(
      sample.main,
      sample.Options,
      sample.__doc__,
      ["sample", f"--model_dir={model_dir}", f"--output_dir={folder}"],
    )
    == 0
  )
  return {path.name.split("_samples_")[0]: np.load(path)["arr_0"] for path in folder.glob("*.npz")}


def require_same(images, expected):
  """Byte for byte, or where the CPU's kernels differ by batch size by one level in a thousandth of the values."""
  assert images.shape == expected.shape
  differences = np.abs(images.astype(int) - expected)
  assert differences.max() <= 1 and np.mean(differences > 0) <= 1e-3


class Server:
  """`python -m trainers.serve` in a process of its own."""

  def __init__(self, models_dir, *flags):
    self.process = subprocess.Popen(
      [
        sys.executable,
        "-m",
        "trainers.serve",
        f"--models_dir={models_dir}",
        "--port=0",
        "--rest_port=0",
        *flags,
      ],
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    self.said = []
    for line in self.process.stdout:
      self.said.append(line)
      if line.startswith("development server"):
        break
    else:
      raise AssertionError("".join(self.said))
    words = line.split()
    self.address, self.url = words[4].rstrip(","), words[-1]

  def stop(self):
    """The process's status."""
    self.process.terminate()
    self.said += list(self.process.stdout)
    return self.process.wait(timeout=60)


@pytest.fixture(name="server", scope="session")
def fixture_server(models_dir):
  server = Server(models_dir, "--poll_seconds=0.5", "--max_batch=32")
  yield server
  assert server.stop() == 0
