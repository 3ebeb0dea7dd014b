"""A small model with random weights, its export, and a development server of it.

Serving does not depend on a training, so there is none.
"""

import http.server
import json
import pathlib
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import networks
from iddpm_tf.diffusion.samplers import base
from iddpm_tf.models import batched_sampling
from iddpm_tf.models import checkpoints
from iddpm_tf.models import image_sampler
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.models import trained_model
from iddpm_tf.serving import config as serving_config
from iddpm_tf.serving import deployment
from iddpm_tf.serving import servable
from tests import small_model
from tests.serving import c_program

NUM_IMAGES = 12
INPUTS = {
  "seed": np.arange(NUM_IMAGES, dtype=np.int64),
  "label": np.arange(NUM_IMAGES, dtype=np.int32) % 10,
}
DEFAULT_CONFIG = serving_config.ServableConfig()
_STEP = 10


@pytest.fixture(name="model_dir", scope="session")
def fixture_model_dir(tmp_path_factory):
  """A model folder. Its weights and the moving averages of each rate are random."""
  config = config_lib.Config.from_settings(
    base_channels=32,
    channel_multipliers=(1,),
    num_res_blocks=1,
    attention_resolutions=(),
    class_conditional=True,
    diffusion_steps=25,
    ema=(0.9, 0.5),
    samplers=("ancestral:5", "ddim:5"),
    num_samples=NUM_IMAGES,
  )
  names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
  config = config.with_data(image_shape=(8, 8, 1), num_classes=10, class_names=names)
  folder = model_dir_lib.ModelDir(tmp_path_factory.mktemp("runs") / "small")
  folder.write_config(config)
  keras.utils.set_random_seed(0)  # The same weights in every run, and so the same rounding.
  network, generator = networks.build_network(config), np.random.default_rng(0)

  def random_weights():
    return {
      variable.path: tf.Variable(
        (variable.numpy() + 0.1 * generator.standard_normal(variable.shape)).astype(np.float32)
      )
      for variable in network.trainable_variables
    }

  content = tf.train.Checkpoint(
    network=random_weights(), averages={"0.9": random_weights(), "0.5": random_weights()}
  )
  checkpoints.Checkpoints(content, folder.checkpoints).save(_STEP)
  return folder.path


class OneConvolution(keras.Layer):
  """A network of one layer, for tests of exports whose images do not matter.

  Its images depend on the low-resolution image, if there is one, but not on t or the label.
  """

  def __init__(self, config):
    super().__init__()
    self.convolution = keras.layers.Conv2D(config.out_channels, 3, padding="same")
    channels = config.image_shape[-1]
    self.convolution.build([None, None, None, 2 * channels if config.low_res_shape else channels])
    self.built = True

  def call(self, x, t, label=None, low_res=None, training=False, remat=False):
    del t, label, training, remat
    if low_res is not None:
      x = tf.concat([x, tf.image.resize(low_res, x.shape[1:3])], axis=-1)
    return self.convolution(x)


def plain_sampler(text, image_shape=(8, 8, 1), *, counts=True, **changes):
  """Returns a sampler of a network of one layer, which counts its steps or not."""
  config = small_model.make_config(image_shape, **changes)
  counter = servable.step_counter() if counts else None
  network = OneConvolution(config)
  return image_sampler.ImageSampler(config, network, base.parse(text), on_step=counter)


def image_samplers(model_dir, *, ema=None, samplers=("ancestral:5", "ddim:5"), precision="float32"):
  """Returns the samplers of a model folder."""
  folder = model_dir_lib.ModelDir(model_dir)
  config = folder.require_config().with_settings(samplers=samplers, precision=precision)
  model = trained_model.load(folder, config, ema=ema)
  chosen = batched_sampling.parse_samplers(config)
  return [model.make_image_sampler(sampler, on_step=servable.step_counter()) for sampler in chosen]


def export_model(samplers, folder, *, name="small", config=DEFAULT_CONFIG, verify_with=None):
  """Exports samplers with the files for a server, and returns the path of the version."""
  path = servable.export(
    samplers,
    pathlib.Path(folder) / name,
    assets={"config.json": samplers[0].config.to_json()},
    config=config,
    verify_with=verify_with,
  )
  inputs = {spec.name: spec for spec in samplers[0].input_signature()}
  deployment.write(path, str(samplers[0].sampler), inputs, png=config.png)
  return path


@pytest.fixture(name="samplers", scope="session")
def fixture_samplers(model_dir):
  """The samplers of the model."""
  return image_samplers(model_dir)


@pytest.fixture(name="models_dir", scope="session")
def fixture_models_dir(samplers, tmp_path_factory):
  """A folder with version 1 of `small`."""
  folder = tmp_path_factory.mktemp("served") / "saved_models"
  export_model(samplers, folder, config=serving_config.ServableConfig(trajectory=4))
  return folder


@pytest.fixture(name="c_program_path", scope="session")
def fixture_c_program_path(tmp_path_factory):
  """The program in C that draws from exports. Linking it takes seconds."""
  return c_program.compiled(tmp_path_factory.mktemp("c"))


@pytest.fixture(name="drawn", scope="session")
def fixture_drawn(samplers):
  """The images of `INPUTS` by sampler, uint8 [12, 8, 8, 1], without any export."""
  arguments = [tf.constant(array) for array in INPUTS.values()]
  return {str(sampler.sampler): sampler.draw(*arguments).numpy() for sampler in samplers}


def require_same(images, expected):
  """Asserts that images are equal but for one level in a thousandth of the values.

  The CPU's kernels round differently for different numbers of images.
  """
  assert images.shape == expected.shape
  differences = np.abs(images.astype(int) - expected)
  assert differences.max() <= 1 and np.mean(differences > 0) <= 1e-3


class Server:
  """`python -m trainers.serve` in its own process.

  Attributes:
    process: the process.
    lines: what it has printed.
    address: `HOST:PORT` of gRPC.
    url: the URL of REST.
  """

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
    self.lines = []
    for line in self.process.stdout:
      self.lines.append(line)
      if line.startswith("development server"):
        break
    else:
      raise AssertionError("".join(self.lines))
    words = line.split()
    self.address, self.url = words[4].rstrip(","), words[-1]

  def stop(self):
    """Stops the server, and returns the status of its process."""
    self.process.terminate()
    self.lines += list(self.process.stdout)
    return self.process.wait(timeout=60)


@pytest.fixture(name="server", scope="session")
def fixture_server(models_dir):
  """A server of `models_dir`."""
  server = Server(models_dir, "--poll_seconds=0.5", "--max_batch=32")
  yield server
  assert server.stop() == 0


class FakeServer(http.server.ThreadingHTTPServer):
  """A server by REST that answers as it is told, without a model.

  Attributes:
    answer: the answer to a request for images.
    statuses: the status of each answer to a request for images, in turn.
    signatures: the answer to a request for signatures.
    bodies: the requests for images.
  """

  def __init__(self):
    super().__init__(("127.0.0.1", 0), _FakeHandler)
    self.answer, self.statuses, self.bodies = {"outputs": [[[[7]]]]}, [], []
    self.signatures = {"serving_default": {"inputs": {"seed": {}}}}

  @property
  def url(self):
    return f"http://127.0.0.1:{self.server_port}"


class _FakeHandler(http.server.BaseHTTPRequestHandler):
  def do_POST(self):
    self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
    status = self.server.statuses.pop(0)
    error = {"error": f"refused with {status}"}
    self._send(status, self.server.answer if status == 200 else error)

  def do_GET(self):
    self._send(200, {"metadata": {"signature_def": {"signature_def": self.server.signatures}}})

  def _send(self, status, answer):
    content = json.dumps(answer).encode()
    self.send_response(status)
    self.send_header("Content-Length", str(len(content)))
    self.end_headers()
    self.wfile.write(content)

  def log_message(self, *_):
    pass


@pytest.fixture(name="fake_server")
def fixture_fake_server():
  server = FakeServer()
  threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
  yield server
  server.shutdown()
  server.server_close()
