"""A client by REST needs no TensorFlow, whose import takes seconds."""

import subprocess
import sys

import pytest

HEAVY = ("tensorflow", "keras", "tensorflow_serving", "scipy", "sklearn", "matplotlib", "grpc")


def imported_by(code):
  """Runs code in a new process, and returns the last line: the heavy packages it has imported."""
  code = f"import sys\n{code}\nprint([name for name in {HEAVY} if name in sys.modules])"
  done = subprocess.run(
    [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
  )
  return done.stdout.splitlines()[-1]


def test_the_modules_import_no_heavy_package():
  modules = (
    "iddpm_tf.serving.clients.rest_client",
    "iddpm_tf.serving.config",
    "iddpm_tf.serving.layout",
    "iddpm_tf.serving.server.config",
    "trainers.client",
    "trainers.serve",
  )
  assert imported_by(f"import {', '.join(modules)}") == "[]"


def test_the_command_draws_by_rest_without_a_heavy_package(fake_server, tmp_path):
  fake_server.statuses = [200]
  flags = [f"--url={fake_server.url}", "--model=m", "--num_samples=1", f"--output_dir={tmp_path}"]
  code = f"from trainers import client\nassert client.COMMAND.run({['client', *flags]}) == 0"
  assert imported_by(code) == "[]"
  assert sorted(path.name for path in tmp_path.iterdir()) == ["000000.png", "grid.png"]


@pytest.mark.parametrize("flag", ["--address=a:99999", "--url=ftp://a"])
def test_a_wrong_address_is_refused_without_a_heavy_package(flag, tmp_path):
  flags = [flag, "--model=m", f"--output_dir={tmp_path}"]
  code = f"from trainers import client\nassert client.COMMAND.run({['client', *flags]}) == 2"
  assert imported_by(code) == "[]"
