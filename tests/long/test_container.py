"""The export in TensorFlow Serving itself, where docker and its image are: make test-serving."""

import shutil
import socket
import subprocess
import time

import numpy as np
import pytest

from iddpm_tf.serving import client as client_lib
from iddpm_tf.serving import deployment
from tests.serving import conftest

fixture_model_dir, fixture_models_dir = conftest.fixture_model_dir, conftest.fixture_models_dir
fixture_drawn = conftest.fixture_drawn
IMAGE = "tensorflow/serving"


def docker(*arguments, check=True):
  return subprocess.run(
    ["docker", *map(str, arguments)], check=check, capture_output=True, text=True
  )


@pytest.fixture(name="ports")
def fixture_ports(models_dir):
  """Of gRPC and REST, of a container that is as compose.yaml has it."""
  if not shutil.which("docker") or docker("image", "inspect", IMAGE, check=False).returncode:
    pytest.skip(f"there is no docker, or no image {IMAGE}")
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
    *deployment.FLAGS,
  ).stdout.strip()
  yield ports
  docker("stop", container)


@pytest.mark.parametrize("name", ["ancestral_5", "ddim_5"])
def test_it_draws_the_images_of_sample(ports, drawn, name):
  inputs = {"seed": np.arange(12), "label": np.arange(12, dtype=np.int32) % 10}
  clients = (
    client_lib.GrpcClient(f"127.0.0.1:{ports[0]}", "small"),
    client_lib.RestClient(f"http://127.0.0.1:{ports[1]}", "small"),
  )
  for client in clients:
    deadline = time.monotonic() + 120
    while True:
      try:
        assert name in client.signatures()
        break
      except client_lib.ServingError:
        assert time.monotonic() < deadline
        time.sleep(1)
    (images,) = client.predict(name, inputs).values()
    conftest.require_same(images.astype(np.uint8), drawn[name])
    # What is wrong is refused, and the server lives on; more than is drawn at once is split.
    for wrong in (
      inputs | {"label": inputs["label"] + 5},
      {key: array[:0] for key, array in inputs.items()},
    ):
      with pytest.raises(client_lib.ServingError):
        client.predict(name, wrong)
    (images,) = client.predict(
      name, {key: np.resize(array, 30) for key, array in inputs.items()}
    ).values()
    conftest.require_same(images[:12].astype(np.uint8), drawn[name])
    client.close()
