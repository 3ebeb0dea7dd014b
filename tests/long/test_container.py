"""An export in TensorFlow Serving itself, if Docker has its image: make test-serving."""

import shutil
import socket
import subprocess
import time

import numpy as np
import pytest

from iddpm_tf.serving import clients
from iddpm_tf.serving import deployment
from tests.serving import conftest

fixture_model_dir, fixture_samplers = conftest.fixture_model_dir, conftest.fixture_samplers
fixture_models_dir, fixture_drawn = conftest.fixture_models_dir, conftest.fixture_drawn
IMAGE = "tensorflow/serving"


def docker(*arguments, check=True):
  return subprocess.run(
    ["docker", *map(str, arguments)], check=check, capture_output=True, text=True
  )


@pytest.fixture(name="ports")
def fixture_ports(models_dir):
  """The ports of gRPC and REST of a container that runs as in compose.yaml."""
  if not shutil.which("docker") or docker("image", "inspect", IMAGE, check=False).returncode:
    pytest.skip(f"Docker or its image {IMAGE} is not installed")
  ports = []
  for _ in range(2):
    with socket.socket() as free:
      free.bind(("127.0.0.1", 0))
      ports.append(free.getsockname()[1])
  container = docker(
    "run",
    "--rm",
    "--init",
    "--detach",
    "-v",
    f"{models_dir}:/models:ro",
    "-p",
    f"127.0.0.1:{ports[0]}:8500",
    "-p",
    f"127.0.0.1:{ports[1]}:8501",
    "--entrypoint",
    "/usr/bin/tensorflow_model_server",
    IMAGE,
    *deployment.SERVER_FLAGS,
  ).stdout.strip()
  yield ports
  docker("stop", container)


@pytest.mark.parametrize("name", ["ancestral_5", "ddim_5"])
def test_it_draws_the_images_of_the_model(ports, drawn, name):
  inputs = conftest.INPUTS
  connected = (
    clients.connect(model="small", address=f"127.0.0.1:{ports[0]}"),
    clients.connect(model="small", url=f"http://127.0.0.1:{ports[1]}"),
  )
  for client in connected:
    deadline = time.monotonic() + 120
    while True:
      try:
        assert name in client.signatures()
        break
      except clients.ServingError:
        assert time.monotonic() < deadline
        time.sleep(1)
    (images,) = client.predict(name, inputs).values()
    conftest.require_same(images.astype(np.uint8), drawn[name])
    # Wrong inputs are refused, and the server continues. A request larger than a batch is split.
    for wrong in (
      inputs | {"label": inputs["label"] + 5},
      {key: array[:0] for key, array in inputs.items()},
    ):
      with pytest.raises(clients.ServingError):
        client.predict(name, wrong)
    (images,) = client.predict(
      name, {key: np.resize(array, 30) for key, array in inputs.items()}
    ).values()
    conftest.require_same(images[:12].astype(np.uint8), drawn[name])
    client.close()
