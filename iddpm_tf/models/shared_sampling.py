"""Images that several processes draw together: each draws every n-th batch."""

from collections.abc import Iterator
import os
import zlib

import numpy as np

from iddpm_tf.diffusion.samplers import base as samplers
from iddpm_tf.models import batched_sampling
from iddpm_tf.models import trained_model
from iddpm_tf.utils import cluster
from iddpm_tf.utils import progress as progress_lib
from iddpm_tf.utils import shared_batches


class SharedSampling:
  """Draws the images of given inputs with several processes, which make the same calls.

  The batches are those of one process, and so are the images, byte for byte. A command that was
  stopped finds the batches that it has drawn. If a worker is lost, the chief draws its part.
  """

  def __init__(
    self,
    parent: str | os.PathLike[str],
    inputs: batched_sampling.Inputs,
    *,
    batch_size: int,
    workers: cluster.Cluster,
    progress: progress_lib.Progress,
  ):
    """Prepares the work.

    Args:
      parent: a folder on a disk that all workers have, in which the batches lie meanwhile.
      inputs: arrays by the names of a sampler's inputs.
      batch_size: images at a time, over all devices of a process.
      workers: the processes.
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
      inputs = self._inputs_of(starts, enlarged)
      for images in batched.batches(inputs, batch_size=self._batch_size, progress=self._progress):
        yield (images,)

    shared.share("images", self._starts, self._batch_size, make)
    if has_drawn and self._workers.is_chief:
      self._progress.say(batched.describe_range())
      if note := batched.note_of_extremes():
        self._progress.say(note)
    return Drawn(shared, self._starts)

  def clear(self) -> None:
    """Deletes the batches. The chief calls it when their images are written."""
    for shared in self._made:
      shared.clear()

  def _inputs_of(self, starts, enlarged):
    """Returns the inputs of the batches at some positions."""
    stop = self._starts.stop
    chosen = np.concatenate(
      [np.arange(start, min(start + self._batch_size, stop)) for start in starts]
    )
    inputs = {
      name: None if array is None else np.asarray(array)[chosen]
      for name, array in self._inputs.items()
    }
    if enlarged is not None:
      inputs["low_res"] = enlarged.images(starts)
    return inputs

  def _key(self, model, sampler, enlarged):
    """Returns all that the images depend on, as JSON."""
    inputs = {
      name: None if array is None else zlib.crc32(np.ascontiguousarray(array).data)
      for name, array in self._inputs.items()
    }
    return [
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
  """The images of one call of `SharedSampling.draw`."""

  def __init__(self, shared: shared_batches.SharedBatches, starts: range):
    self._shared, self._starts = shared, starts

  @property
  def name(self) -> str:
    """A name that depends on all that the images depend on."""
    return self._shared.folder.name

  def images(self, starts: "range | list[int] | None" = None) -> np.ndarray:
    """Returns the images of batches that are drawn, uint8 `[N, H, W, C]`.

    Args:
      starts: the positions at which the batches begin; None: all, which only the chief has.
    """
    (images,) = self._shared.load("images", self._starts if starts is None else starts)
    return images
