"""Images that are drawn batch by batch into files, by one process or by several together.

Of several, each draws every n-th batch.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import os
import zlib

import numpy as np

import iddpm_tf
from iddpm_tf.diffusion.samplers import base as samplers
from iddpm_tf.models import batched_sampling
from iddpm_tf.models import trained_model
from iddpm_tf.utils import cluster
from iddpm_tf.utils import progress as progress_lib
from iddpm_tf.utils import shared_batches


class SharedSampling:
  """Draws the images of given inputs, which are never all in memory.

  A command that was stopped finds the batches that it has drawn. Several processes make the same
  calls. Their batches are those of one process, and so are the images, byte for byte. If a worker
  is lost, the chief draws its part.
  """

  def __init__(
    self,
    parent: str | os.PathLike[str],
    inputs: batched_sampling.Inputs,
    *,
    batch_size: int,
    workers: cluster.Cluster | None,
    progress: progress_lib.Progress,
  ):
    """Prepares the work.

    Args:
      parent: a folder on a disk that all workers have, in which the batches lie meanwhile.
      inputs: arrays by the names of a sampler's inputs.
      batch_size: images at a time, over all devices of a process.
      workers: the processes; None: this one is alone.
      progress: shows the evaluations of the network.
    """
    self._parent, self._inputs, self._batch_size = parent, dict(inputs), batch_size
    self._workers, self._progress = workers, progress
    seeds = inputs["seed"]
    assert seeds is not None
    self._starts = range(0, len(seeds), batch_size)
    self._made: list[shared_batches.SharedBatches] = []
    # Graphs, by the model and the sampler.
    self._batched: dict[tuple[int, str], batched_sampling.BatchedSampler] = {}

  def draw(
    self,
    model: trained_model.TrainedModel,
    sampler: samplers.Sampler,
    *,
    enlarged: "Drawn | None" = None,
  ) -> "Drawn":
    """Draws this worker's batches; the chief then waits for the others.

    Args:
      model: the model.
      sampler: the rule for each step.
      enlarged: for a super-resolution model, the images of an earlier call that it enlarges.

    Raises:
      ChiefFinished: the chief did not wait for this worker.
    """
    shared = shared_batches.SharedBatches(
      self._parent, self._key(model, sampler, enlarged), self._workers, progress=self._progress
    )
    self._made.append(shared)
    graph = (id(model), sampler.to_text())
    if graph not in self._batched:
      self._batched[graph] = batched_sampling.BatchedSampler(model, sampler)
    batched = self._batched[graph]
    has_drawn = False

    def make(starts: list[int]) -> Iterator[tuple[np.ndarray]]:
      nonlocal has_drawn
      has_drawn = True
      inputs = (self._inputs_of(start, enlarged) for start in starts)
      for images in batched.each_of(inputs, len(starts), progress=self._progress):
        yield (images,)

    shared.share("images", self._starts, self._batch_size, make)
    if has_drawn and shared.is_chief:
      self._progress.say(batched.describe_range())
      if note := batched.note_of_extremes():
        self._progress.say(note)
    return Drawn(shared, self._starts, model.config.image_shape)

  def clear(self) -> None:
    """Deletes the batches. The chief calls it when their images are written."""
    for shared in self._made:
      shared.clear()

  def _inputs_of(self, start, enlarged):
    """Returns the inputs of the batch at a position."""
    part = slice(start, start + self._batch_size)
    inputs = {name: None if array is None else array[part] for name, array in self._inputs.items()}
    if enlarged is not None:
      inputs["low_res"] = enlarged.batch(start)
    return inputs

  def _key(self, model, sampler, enlarged):
    """Returns all that the images depend on, as JSON."""
    inputs = {
      name: None if array is None else zlib.crc32(np.ascontiguousarray(array).data)
      for name, array in self._inputs.items()
    }
    return [
      iddpm_tf.__version__,
      model.config.to_json(),
      model.step,
      model.ema,
      trained_model.weights_checksum(model),
      sampler.to_text(),
      self._batch_size,
      len(self._starts),
      self._starts.stop,
      inputs,
      enlarged and enlarged.name,
    ]


class Drawn:
  """The images of one call of `SharedSampling.draw`, in files. Only the chief has all of them.

  Attributes:
    shape: the shape of all images, (N, H, W, C).
  """

  def __init__(
    self, shared: shared_batches.SharedBatches, starts: range, image_shape: Sequence[int]
  ):
    self._shared, self._starts = shared, starts
    self.shape = (starts.stop, *image_shape)

  @property
  def name(self) -> str:
    """A name that depends on all that the images depend on."""
    return self._shared.folder.name

  def batch(self, start: int) -> np.ndarray:
    """Returns the images of the batch that begins at a position, uint8 `[B, H, W, C]`."""
    (images,) = self._shared.load("images", [start])
    return images

  def batches(self) -> Iterator[np.ndarray]:
    """Yields the images of each batch, uint8 `[B, H, W, C]`."""
    return map(self.batch, self._starts)

  def first(self, count: int) -> np.ndarray:
    """Returns the first images, uint8 `[count, H, W, C]`, or all if there are fewer."""
    starts = [start for start in self._starts if start < count]
    return np.concatenate(list(map(self.batch, starts)))[:count]
