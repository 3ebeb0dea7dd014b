"""Images in batches, drawn on all devices of a model."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion.samplers import base as samplers
from iddpm_tf.diffusion.samplers import known_pixels
from iddpm_tf.diffusion.samplers import loop
from iddpm_tf.models import out_of_range
from iddpm_tf.models import trained_model
from iddpm_tf.utils import devices
from iddpm_tf.utils import progress as progress_lib

# Arrays by the names of a sampler's inputs: `seed` int64 [N], `label` int32 [N], `low_res` uint8
# [N, h, w, C], `guidance_scale` and `classifier_scale` float32 [N]. Inputs that the model does not
# take are ignored, and may be None; so may scales, which are then the configuration's.
Inputs = Mapping[str, np.ndarray | None]


@dataclasses.dataclass(frozen=True)
class Edits:
  """Holds what is known of images that are drawn anew in part.

  Attributes:
    image: the pictures, uint8 `[N, H, W, C]`.
    mask: which pixels are drawn, uint8 `[N, H, W, 1]`: those of 128 or more.
    strength: the share of the steps with which each is drawn, float32 `[N]` in (0, 1].
    resampling: how often drawing goes back, so that new pixels fit the known ones.
  """

  image: np.ndarray
  mask: np.ndarray
  strength: np.ndarray
  resampling: known_pixels.Resampling = known_pixels.NO_RESAMPLING


class BatchedSampler:
  """Draws images of one model by one sampler. Its graph is traced once."""

  def __init__(self, model: trained_model.TrainedModel, sampler: samplers.Sampler):
    """Prepares the graph.

    Args:
      model: the model.
      sampler: the rule for each step.

    Raises:
      InputError: the model has fewer timesteps than the sampler takes.
    """
    self._model, self._sampler = model, sampler
    self._bar: progress_lib.Bar | None = None
    self._graphs: dict[Any, Callable[..., tf.Tensor]] = {}  # Traced when they are first used.
    self._outside = out_of_range.Counter()
    self.image_sampler = model.make_image_sampler(
      sampler, on_step=self._on_step, on_end=self._outside.add
    )
    self._draw = devices.over_replicas(model.strategy, self.image_sampler.draw)

  def draw(self, inputs: Inputs, *, batch_size: int, progress: progress_lib.Progress) -> np.ndarray:
    """Returns all images, uint8 `[N, H, W, C]`; see `batches`."""
    batches = self.batches(inputs, batch_size=batch_size, progress=progress)
    return np.concatenate(list(batches))

  def batches(
    self, inputs: Inputs, *, batch_size: int, progress: progress_lib.Progress
  ) -> Iterator[np.ndarray]:
    """Yields images of at most `batch_size` seeds at a time, uint8 `[B, H, W, C]`.

    Args:
      inputs: see `Inputs`.
      batch_size: images at a time, over all devices.
      progress: shows the evaluations of the network.
    """
    arrays = self.image_sampler.arrays(inputs)
    starts = range(0, len(arrays[0]), batch_size)
    parts = ((array[start : start + batch_size] for array in arrays) for start in starts)
    return self._drawn(parts, len(starts), progress)

  def each_of(
    self, batches: Iterable[Inputs], count: int, *, progress: progress_lib.Progress
  ) -> Iterator[np.ndarray]:
    """Yields the images of each batch of inputs, uint8 `[B, H, W, C]`.

    Args:
      batches: see `Inputs`. Each is asked for when it is drawn, so that not all are in memory.
      count: the number of batches.
      progress: shows the evaluations of the network.
    """
    return self._drawn(map(self.image_sampler.arrays, batches), count, progress)

  def _drawn(self, batches, count, progress):
    self._outside.clear()
    with self._bar_of(count, progress):
      for arrays in batches:
        yield self._draw(*arrays)

  def frames(
    self,
    count: int,
    inputs: Inputs,
    *,
    of: str = "x_t",
    batch_size: int,
    progress: progress_lib.Progress,
  ) -> np.ndarray:
    """Returns frames of each image, uint8 `[N, count, H, W, C]`; see `ImageSampler.frames`."""

    def draw_frames(*arrays):
      return self.image_sampler.frames(count, *arrays, of=of)

    graph = self._graph((count, of), draw_frames)
    return self._map(graph, self.image_sampler.arrays(inputs), batch_size, progress)

  def from_latents(
    self,
    latents: np.ndarray,
    inputs: Inputs,
    *,
    batch_size: int,
    progress: progress_lib.Progress,
  ) -> np.ndarray:
    """Returns the images of latents x_T, float32 `[N, H, W, C]`: uint8 of the same shape."""
    graph = self._graph("latents", self.image_sampler.from_latents)
    arrays = [latents.astype(np.float32), *self.image_sampler.arrays(inputs)]
    return self._map(graph, arrays, batch_size, progress)

  def edit(
    self,
    edits: Edits,
    inputs: Inputs,
    *,
    batch_size: int,
    progress: progress_lib.Progress,
  ) -> np.ndarray:
    """Returns pictures of which a part is drawn anew, uint8 `[N, H, W, C]`; see `Edits`.

    Raises:
      InputError: the sampler keeps something from step to step, and cannot go back.
    """
    self.image_sampler.require_resampling(edits.resampling)
    arrays = [*self.image_sampler.arrays(inputs), edits.image, edits.mask, edits.strength]

    def edit(*batch):
      return self.image_sampler.edit(*batch, resampling=edits.resampling)

    return self._map(edit, arrays, batch_size, progress, self._evaluations(edits))

  def _evaluations(self, edits):
    """Returns how often a batch of one strength evaluates the network."""
    steps = self._sampler.num_steps(self._model.config.diffusion.diffusion_steps)
    whole = len(edits.resampling.schedule(steps)) if edits.resampling.times > 1 else self._total
    return max(round(float(np.max(edits.strength)) * whole), 1)

  @property
  def _total(self):
    return self._sampler.num_evaluations(self._model.config.diffusion.diffusion_steps)

  def _graph(self, key, function):
    if key not in self._graphs:
      self._graphs[key] = tf.function(function, autograph=False, reduce_retracing=True)
    return self._graphs[key]

  def _map(self, graph, arrays, batch_size, progress, evaluations=None):
    """Returns the results of a graph of batches, on one device, as one array."""
    starts = range(0, len(arrays[0]), batch_size)
    results = []
    with self._bar_of(len(starts), progress, evaluations):
      for start in starts:
        batch = (tf.constant(array[start : start + batch_size]) for array in arrays)
        results.append(graph(*batch).numpy())
    return np.concatenate(results)

  def _bar_of(self, batches, progress, evaluations=None):
    # Each replica reports each of its evaluations of the network.
    replicas = self._model.strategy.num_replicas_in_sync if evaluations is None else 1
    total = (evaluations or self._total) * batches * replicas
    self._bar = progress.bar(total=total, unit="step", description=str(self._sampler))
    return self._bar

  def out_of_range(self) -> loop.OutOfRange:
    """Returns how many predicted values of the last images left their ranges.

    Raises:
      InputError: no images have been drawn.
    """
    outside = self._outside.total()
    if outside is None:
      message = f"expected one that has drawn images, received {self._sampler.to_text()}"
      raise settings.InputError("samplers", message)
    return outside

  def describe_range(self) -> str:
    """Returns how much of the predicted x_0 and v of the last images left their ranges, in words.

    Raises:
      InputError: no images have been drawn.
    """
    return out_of_range.describe(self._model.config, self.out_of_range())

  def note_of_extremes(self) -> str | None:
    """Returns a note if a notable part of the last images is black or white for lack of clipping.

    Raises:
      InputError: no images have been drawn.
    """
    return out_of_range.note_of_extremes(self._model.config, self.out_of_range())

  def _on_step(self, done):
    del done
    if self._bar is not None:
      self._bar.update()


def parse_samplers(
  config: config_lib.Config, texts: Sequence[str | samplers.Sampler] | None = None
) -> list[samplers.Sampler]:
  """Returns the samplers of a configuration, or of other texts, checked against its process.

  Raises:
    InputError: a text has another form, or the model has fewer timesteps than a sampler takes.
  """
  diffusion = gaussian_diffusion.make_diffusion(config.diffusion)
  parsed = [
    each if isinstance(each, samplers.Sampler) else samplers.parse(each)
    for each in texts or config.sampling.samplers
  ]
  for sampler in parsed:
    sampler.respace(diffusion)
  return parsed
