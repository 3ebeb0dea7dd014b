"""A folder in which the code blocks of the documentation run, with small models."""

from collections.abc import Iterator
import os
import pathlib

from keras import ops
import numpy as np
from PIL import Image
import pytest

import iddpm_tf
from iddpm_tf import config as config_lib
from iddpm_tf import networks
from iddpm_tf import registries
from iddpm_tf.data import sources
from iddpm_tf.interop import initialisation
from iddpm_tf.models import inference
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.networks import stateless
from iddpm_tf.training import loop
from tests import small_model
from trainers.reproduction import experiments

# Settings of the models. The documentation draws in up to 100 steps.
SMALL = {
  "channel_multipliers": (1,),
  "attention_resolutions": (),
  "diffusion_steps": 100,
  "batch_size": 8,
  "train_steps": 2,
  "steps_per_call": 1,
  "samplers": ("ddim:5",),
  "num_samples": 10,
}
SMALL_FLAGS = small_model.flags(**SMALL)
# Files that the documentation names and that are not read before TensorFlow is imported.
_FILES = ("classify_image_graph_def.pb", "cifar10.npz", "samples_50000x32x32x3.npz")


@pytest.fixture(name="workplace", scope="session")
def fixture_workplace(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """A working folder with the models and files that the documentation names.

  The models have random weights: tracing a training step would take most of the time.
  """
  folder = tmp_path_factory.mktemp("workplace")
  for name, flagfile, shape in (
    ("digits", "digits", (8, 8, 1)),
    ("base", "digits_4x4", (4, 4, 1)),
    ("upsampler", "digits_upsampler", (8, 8, 1)),
    ("digits_classifier_noisy", "digits_classifier_noisy", (8, 8, 1)),
  ):
    config = config_lib.Config.from_flagfile(f"configs/{flagfile}.flags", **SMALL)
    small_model.write(folder / "runs" / name, config.with_data(image_shape=shape, num_classes=10))
  guided = config_lib.Config.from_flagfile("configs/digits.flags", label_dropout=0.1, **SMALL)
  guided = guided.with_data(image_shape=(8, 8, 1), num_classes=10)
  small_model.write(folder / "runs" / "guided", guided)
  # Commands read its configuration only.
  config = config_lib.Config.from_flagfile("configs/cifar10.flags", **SMALL)
  config = config.with_data(image_shape=(32, 32, 3), num_classes=10)
  model_dir_lib.ModelDir(folder / "runs" / "cifar10").write_config(config)
  (folder / "DATA").mkdir()
  (folder / "PICTURES").mkdir()
  pixels = np.random.default_rng(0).integers(0, 256, [12, 8, 8, 3], np.uint8)
  for number, image in enumerate(pixels):
    path = folder / "PICTURES" / "ab"[number % 2] / f"{number}.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(image).save(path)
  (folder / "pictures").mkdir()
  for number, image in enumerate(pixels[:3]):
    Image.fromarray(image[..., 0]).save(folder / "pictures" / f"{number}.png")
  Image.fromarray(pixels[0, ..., 0]).save(folder / "picture.png")
  Image.fromarray(np.uint8(255) * (np.arange(64).reshape(8, 8) >= 32)).save(folder / "mask.png")
  for name in _FILES:
    (folder / name).touch()
  np.savez(folder / "small.npz", pixels[:10, :4, :4, :1], np.arange(10))
  return folder


def call_simple_network(network, x, *inputs, call=stateless.call_network, **options):
  """Stands in for UNets, whose graphs would take most of the time of a page.

  What the pages do is done with whole networks in tests/api, tests/serving and tests/trainers.
  """
  if not isinstance(network, networks.UNet):
    return call(network, x, *inputs, **options)
  return ops.repeat(0.5 * x, network.out_channels // x.shape[-1], axis=-1)


@pytest.fixture(name="loaded", scope="session")
def fixture_loaded() -> dict:
  """The models that pages have loaded, with their graphs."""
  return {}


@pytest.fixture(name="small_models")
def fixture_small_models(
  workplace: pathlib.Path, loaded: dict, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
  """Makes the blocks use small models, whose graphs all pages share."""
  load, export = iddpm_tf.load, iddpm_tf.Model.export

  def load_once(path, **options):
    key = os.path.abspath(path), *sorted(options.items())
    if key not in loaded:
      model = load(path, **options)
      if isinstance(model, iddpm_tf.ExportedModel):
        return model  # The next version may be another one.
      loaded[key] = model
    return loaded[key]

  def train(config, images=None, labels=None, *, model_dir, init_from=None):
    """Checks the arguments, and returns a model with random weights."""
    if init_from is not None:
      initialisation.require_source(init_from)
    if images is None:
      source = sources.load(config.data, "train")
    elif isinstance(images, sources.Source):
      source = images
    else:
      source = sources.from_arrays(images, labels)
    unused = model_dir_lib.ModelDir(workplace / "unused")
    resolved = loop.resolve_config(config, source, unused)
    if not model_dir_lib.ModelDir(model_dir).read_config():
      small_model.write(pathlib.Path(model_dir), resolved.with_settings(**SMALL))
    return load_once(model_dir)

  def export_images(model, path, *, samplers=None):
    """Exports the images only."""
    config = iddpm_tf.ServableConfig(png=False, warmup=())
    return export(model, path, samplers=samplers, config=config)

  monkeypatch.setattr(stateless, "call_network", call_simple_network)
  # Otherwise, models of other tests would share the graphs of the simple network.
  monkeypatch.setattr(inference, "_graph_of", lambda network: None)
  monkeypatch.setattr(iddpm_tf.Model, "export", export_images)
  monkeypatch.setattr(iddpm_tf, "load", load_once)
  monkeypatch.setattr(iddpm_tf, "train", train)
  yield


@pytest.fixture(name="registered_again")
def fixture_registered_again() -> Iterator[None]:
  """Removes what a page has registered."""
  every = (
    registries.NOISE_SCHEDULES,
    registries.SAMPLERS,
    registries.FEATURE_EXTRACTORS,
    experiments.EXPERIMENTS,
  )
  before = [registry.names() for registry in every]
  yield
  for registry, names in zip(every, before):
    for name in set(registry.names()) - set(names):
      del registry._registered[name]
