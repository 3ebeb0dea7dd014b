"""Seeds, labels and grids of images: the same in training, on the command line and in exports."""

import numpy as np
import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.data import images as images_lib
from iddpm_tf.data import pictures
from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.diffusion import samplers
from iddpm_tf.models import image_sampler

FOLDER = "samples"


def require_samplers(config, flag="samplers"):
  """The `SamplerSpec`s of `--samplers`; `ValueError`, of `flag`, for one that the model cannot run."""
  with settings.renamed({"samplers": flag}):
    return _specs(config)


def _specs(config):
  specs = [samplers.SamplerSpec.parse(text) for text in config.sampling.samplers]
  settings.require(
    len(set(specs)) == len(specs), "samplers", "each sampler once", config.sampling.samplers
  )
  for spec in specs:
    spec.respace(process_lib.make_process(config.diffusion))
  return specs


def order(count, num_classes, first_seed=0):
  """Seeds int64 [count] and labels int32 [count], or None: image i has seed first_seed + i.

  Labels go round the classes, so that an image stays the same when more are drawn.
  """
  seeds = first_seed + np.arange(count, dtype=np.int64)
  return seeds, np.arange(count, dtype=np.int32) % num_classes if num_classes else None


def example_inputs(config, count):
  """Something for each input that a sampler of the model may have: arrays [count, ...] by name."""
  seeds, labels = order(count, config.num_classes)
  inputs = {"seed": seeds, "label": labels}
  if config.low_res_shape:
    inputs["low_res"] = np.random.RandomState(0).randint(
      0, 256, [count, *config.low_res_shape], np.uint8
    )
  return inputs


def grid(images, labels):
  """A picture of images [N, H, W, C]: a row a class where several repeat, about square otherwise."""
  if labels is None or len(np.unique(labels)) in (1, len(labels)):
    return pictures.image_grid(images, int(np.ceil(np.sqrt(len(images)))))
  rows = [images[labels == label] for label in np.unique(labels)]
  columns = max(map(len, rows))
  empty = np.zeros_like(images[:1])
  padded = [np.concatenate([row, *[empty] * (columns - len(row))]) for row in rows]
  return pictures.image_grid(np.concatenate(padded), columns)


class Grids:
  """Sample grids of a run in training, from its raw weights and from each moving average.

  The seeds are the same every time, so that a picture changes by the training alone. A super-resolution model
  enlarges the first images of the data: each stands between the small one and the original.
  """

  def __init__(self, config, state, source, folder, writer):
    self._config, self._state, self._folder, self._writer = config, state, folder / FOLDER, writer
    self._source = source
    # A copy, which takes one set of weights after the other: one graph draws them all.
    self._weights = [
      tf.Variable(variable.value, trainable=False) for variable in state.network.trainable_variables
    ]
    self._sampler = image_sampler.ImageSampler(
      config, state.network, require_samplers(config)[0], weights=self._weights
    )

  def draw(self, step):
    """Draws, writes `samples/step_N_NAME.png` and shows them in TensorBoard."""
    inputs, originals = self._conditioning()
    arrays = [inputs[tensor.name] for tensor in self._sampler.input_signature()]
    self._folder.mkdir(exist_ok=True)
    for name, values in self._sets().items():
      for weight, value in zip(self._weights, values, strict=True):
        weight.assign(value)
      images = self._sampler.draw(*arrays).numpy()
      picture = (
        grid(images, inputs["label"])
        if originals is None
        else _comparison(inputs["low_res"], images, originals)
      )
      pictures.write_png(self._folder / f"step_{step}_{name}.png", picture)
      self._writer.write_images(f"samples/{name}", picture, step)

  def _conditioning(self):
    """The sampler's inputs by name, and the images that they were made from, if they were."""
    count, low_res_shape = self._config.sampling.num_samples, self._config.low_res_shape
    seeds, labels = order(count, self._config.num_classes)
    if not low_res_shape:
      return {"seed": seeds, "label": labels}, None
    originals = self._source.images[:count]
    low_res = images_lib.to_uint8(
      images_lib.area_downsample(images_lib.to_unit_range(originals), low_res_shape[0])
    ).numpy()
    count = len(originals)
    return {
      "seed": seeds[:count],
      "label": self._source.labels[:count],
      "low_res": low_res,
    }, originals

  def _sets(self):
    averages = self._state.averages
    return {"raw": [variable.value for variable in self._state.network.trainable_variables]} | {
      f"ema_{rate}": averages.at_rate(rate) for rate in averages.rates
    }


def _comparison(low_res, images, originals):
  """A picture of triples: the low-resolution image, what was made of it, and the original."""
  factor = images.shape[1] // low_res.shape[1]
  enlarged = low_res.repeat(factor, axis=1).repeat(factor, axis=2)
  triples = np.stack([enlarged, images, originals], axis=1).reshape(
    -1, *images.shape[1:]
  )  # [3N, H, W, C]
  return pictures.image_grid(triples, 3 * int(np.ceil(np.sqrt(len(images) / 3))))
