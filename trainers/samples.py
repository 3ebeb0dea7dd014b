"""Seeds, labels and grids of images: the same in training, on the command line and in exports."""

import numpy as np
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.data import pictures
from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.diffusion import samplers
from iddpm_tf.serving import image_sampler

FOLDER = "samples"


def require_samplers(config):
  """The `SamplerSpec`s of `--samplers`; `ValueError` for one that the model cannot run."""
  specs = [samplers.SamplerSpec.parse(text) for text in config.sampling.samplers]
  config_lib.require(len(set(specs)) == len(specs), "samplers", "each sampler once", config.sampling.samplers)
  for spec in specs:
    spec.respace(process_lib.make_process(config.diffusion))
  return specs


def order(count, num_classes, first_seed=0):
  """Seeds int64 [count] and labels int32 [count], or None: image i has seed first_seed + i.

  Labels go round the classes, so that an image stays the same when more are drawn.
  """
  seeds = first_seed + np.arange(count, dtype=np.int64)
  return seeds, np.arange(count, dtype=np.int32) % num_classes if num_classes else None


def grid(images, labels):
  """A picture of images [N, H, W, C]: a row a class where there are labels, about square otherwise."""
  if labels is None:
    return pictures.image_grid(images, int(np.ceil(np.sqrt(len(images)))))
  rows = [images[labels == label] for label in np.unique(labels)]
  columns = max(map(len, rows))
  empty = np.zeros_like(images[:1])
  padded = [np.concatenate([row, *[empty] * (columns - len(row))]) for row in rows]
  return pictures.image_grid(np.concatenate(padded), columns)


class Grids:
  """Sample grids of a run in training, from its raw weights and from each moving average.

  The seeds are the same every time, so that a picture changes by the training alone.
  """

  def __init__(self, config, state, folder, writer):
    self._config, self._state, self._folder, self._writer = config, state, folder / FOLDER, writer
    # A copy, which takes one set of weights after the other: one graph draws them all.
    self._weights = [tf.Variable(variable.value, trainable=False)
                     for variable in state.network.trainable_variables]
    self._sampler = image_sampler.ImageSampler(
        config, state.network, require_samplers(config)[0], weights=self._weights)

  def draw(self, step):
    """Draws, writes `samples/step_N_NAME.png` and shows them in TensorBoard."""
    seeds, labels = order(self._config.sampling.num_samples, self._config.num_classes)
    self._folder.mkdir(exist_ok=True)
    for name, values in self._sets().items():
      for weight, value in zip(self._weights, values, strict=True):
        weight.assign(value)
      images = (self._sampler.draw(seeds) if labels is None else self._sampler.draw(seeds, labels)).numpy()
      picture = grid(images, labels)
      pictures.write_png(self._folder / f"step_{step}_{name}.png", picture)
      self._writer.write_images(f"samples/{name}", picture, step)

  def _sets(self):
    averages = self._state.averages
    return {"raw": [variable.value for variable in self._state.network.trainable_variables]} | {
        f"ema_{rate}": averages.at_rate(rate) for rate in averages.rates}
