"""Sample grids during training, from the raw weights and from each moving average."""

import numpy as np

from iddpm_tf.data import images as images_lib
from iddpm_tf.data import pictures
from iddpm_tf.data import sources
from iddpm_tf.models import batched_sampling
from iddpm_tf.models import image_sampler
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.models import out_of_range
from iddpm_tf.models import seeds
from iddpm_tf.training import state as state_lib
from iddpm_tf.training import tensorboard
from iddpm_tf.utils import progress as progress_lib


class SampleGrids:
  """Draws the same seeds again and again, so that a picture changes only by the training.

  A super-resolution model enlarges the first images of the data: each result stands between the
  small image and the original.
  """

  def __init__(
    self,
    state: state_lib.TrainState,
    source: sources.Source,
    folder: model_dir_lib.ModelDir,
    writer: tensorboard.Writer,
    progress: progress_lib.Progress,
  ):
    """Prepares the graph, which is traced when the first grid is drawn.

    Args:
      state: the state of the training.
      source: the training images.
      folder: the model folder.
      writer: shows the grids in TensorBoard.
      progress: shows how far a grid is.
    """
    self._state, self._source = state, source
    self._folder, self._writer, self._progress = folder.samples, writer, progress
    self._sampler = batched_sampling.parse_samplers(state.config)[0]
    self._bar: progress_lib.Bar | None = None
    # The network takes one set of weights after the other: one graph draws all.
    self._outside = out_of_range.Counter()
    self._image_sampler = image_sampler.ImageSampler(
      state.config,
      state.network,
      self._sampler,
      on_step=self._on_step,
      on_end=self._outside.add,
    )

  def draw(self, step: int) -> None:
    """Draws the grids, writes `samples/step_N_NAME.png`, and shows them in TensorBoard.

    TensorBoard also shows how much of the predicted x_0 and v left their ranges. A line says so for
    the weights with the largest share, if it is large.
    """
    inputs, originals = self._inputs()
    arrays = self._image_sampler.arrays(inputs)
    self._folder.mkdir(exist_ok=True)
    weight_sets, outside = self._weight_sets(), {}
    config = self._state.config.diffusion
    steps = len(weight_sets) * self._sampler.num_evaluations(config.diffusion_steps)
    self._bar = self._progress.bar(total=steps, unit="step", description="sample grid")
    with self._bar:
      for name, values in weight_sets.items():
        self._state.load_into_network(values)
        self._outside.clear()
        images = self._image_sampler.draw(*arrays).numpy()
        total = self._outside.total()
        assert total is not None, "a sampler that counts nothing"
        outside[name] = total
        if originals is None:
          picture = pictures.class_grid(images, inputs["label"])
        else:
          picture = _comparison(inputs["low_res"], images, originals)
        pictures.write_png(self._folder / f"step_{step}_{name}.png", picture)
        self._writer.write_image(f"samples/{name}", picture, step)
        shares = out_of_range.shares(self._state.config, outside[name])
        self._writer.write_values(shares, "samples", name, step)
    self._say_range(outside, step)

  def _say_range(self, outside, step):
    """Says how much of x_0 left its range with the weights of the largest share, if it is large."""
    name = max(outside, key=lambda key: outside[key].x_start)
    if out_of_range.is_large(outside[name]):
      text = out_of_range.describe(self._state.config, outside[name])
      self._progress.say(f"sample grid of {name} at step {step}: {text}")

  def _on_step(self, done):
    del done
    if self._bar is not None:
      self._bar.update()

  def _inputs(self):
    """Returns the sampler's inputs, and the originals of a super-resolution model or None."""
    config = self._state.config
    count, low_res_shape = config.sampling.num_samples, config.low_res_shape
    if not low_res_shape:
      labels = seeds.make_labels(count, config.num_classes)
      return {"seed": seeds.make_seeds(count), "label": labels}, None
    originals = self._source.images[:count]
    low_res = images_lib.to_uint8(
      images_lib.area_downsample(images_lib.to_unit_range(originals), low_res_shape[0])
    ).numpy()
    count = len(originals)
    inputs = {
      "seed": seeds.make_seeds(count),
      "label": self._source.labels[:count],
      "low_res": low_res,
    }
    return inputs, originals

  def _weight_sets(self):
    averages = self._state.averages
    return {"raw": self._state.weights} | {
      f"ema_{rate}": averages.at_rate(rate) for rate in averages.rates
    }


def _comparison(low_res, images, originals):
  """Returns a picture of triples: the small image, the enlarged one, and the original."""
  factor = images.shape[1] // low_res.shape[1]
  enlarged = low_res.repeat(factor, axis=1).repeat(factor, axis=2)
  # [N, 3, H, W, C] -> [3 N, H, W, C]
  triples = np.stack([enlarged, images, originals], axis=1).reshape(-1, *images.shape[1:])
  return pictures.image_grid(triples, 3 * int(np.ceil(np.sqrt(len(images) / 3))))
