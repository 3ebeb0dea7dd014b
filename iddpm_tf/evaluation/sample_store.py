"""Samples that are kept on the disk, so that a stopped evaluation does not draw them again.

Each image depends on its own seed alone. The first 10,000 of 50,000 samples are therefore the
samples of a smaller evaluation. Samples are kept in files of one batch each; they are never all in
memory.
"""

import json
import os
import pathlib
import zlib

import numpy as np

from iddpm_tf.data.records import reading
from iddpm_tf.diffusion.samplers import base as samplers
from iddpm_tf.models import batched_sampling
from iddpm_tf.models import seeds as seeds_lib
from iddpm_tf.models import trained_model
from iddpm_tf.utils import cluster
from iddpm_tf.utils import files
from iddpm_tf.utils import npz
from iddpm_tf.utils import progress as progress_lib
from iddpm_tf.utils import shared_batches

_FOLDER = "samples"


class SampleStore:
  """The samples of one model by one sampler. Labels repeat the classes in turn.

  Attributes:
    folder: the folder that holds the samples.
  """

  def __init__(
    self,
    evaluations: str | os.PathLike[str],
    model: trained_model.TrainedModel,
    sampler: samplers.Sampler,
    *,
    first_seed: int = 0,
    base: "SampleStore | None" = None,
  ):
    """Chooses the folder.

    Args:
      evaluations: a folder of evaluations, in which the samples have a folder of their own.
      model: the model.
      sampler: the rule for each step.
      first_seed: the seed of the first image; image i has the seed first_seed + i.
      base: the samples that a super-resolution model enlarges, with the same seeds and labels; None
        for a model that draws from noise alone.
    """
    self._model, self._sampler, self._first_seed = model, sampler, first_seed
    self._base = base
    self._image_shape = model.config.image_shape
    self.folder = pathlib.Path(evaluations) / _FOLDER / self._name()

  def draw(
    self,
    count: int,
    *,
    batch_size: int,
    progress: progress_lib.Progress,
    workers: cluster.Cluster | None = None,
    for_all: bool = False,
  ) -> reading.RecordImages | None:
    """Returns the first samples, uint8 `[count, H, W, C]` on the disk, and draws what is missing.

    Args:
      count: the number of samples.
      batch_size: images at a time, over all devices of a process.
      progress: shows the evaluations of the network.
      workers: the processes that make this call at the same time, on the same disk. Each draws
        every n-th batch. The chief then waits for the others, and draws what one does not finish;
        the others return None.
      for_all: whether the other workers wait, too, and return the samples.
    """
    self.folder.mkdir(parents=True, exist_ok=True)
    start = sum(map(len, self._files(count)))
    missing = list(range(start, count, batch_size))
    if missing:
      if start:
        progress.say(f"{start:,} of {count:,} samples are in {self.folder}")
      low_res = None
      if self._base is not None:
        low_res = self._base.draw(
          count, batch_size=batch_size, progress=progress, workers=workers, for_all=True
        )
      sampler = batched_sampling.BatchedSampler(self._model, self._sampler)

      has_drawn = False

      def draw(positions):
        nonlocal has_drawn
        has_drawn = True
        return self._draw_batches(sampler, low_res, positions, count, batch_size, progress)

      shared_batches.share_out(
        missing,
        batch_size,
        workers,
        make=draw,
        is_made=lambda place: self._is_drawn(place, count, batch_size),
        progress=progress,
        for_all=for_all,
      )
      if has_drawn:
        progress.say(sampler.describe_range())
    if workers and not workers.is_chief and not for_all:
      return None
    return reading.RecordImages(self._files(count), self._image_shape)

  def _draw_batches(self, sampler, low_res, positions, count, batch_size, progress):
    """Draws the batches that begin at some positions, and yields after each."""
    seeds = seeds_lib.make_seeds(count, self._first_seed)
    labels = seeds_lib.make_labels(count, self._model.num_labels)

    def inputs():
      for start in positions:
        part = slice(start, start + batch_size)
        yield {
          "seed": seeds[part],
          "label": None if labels is None else labels[part],
          "low_res": None if low_res is None else low_res[part],
        }

    batches = sampler.each_of(inputs(), len(positions), progress=progress)
    for start, images in zip(positions, batches):
      with files.whole(self._path(start)) as temporary:
        np.save(temporary, images)
      yield

  def _name(self):
    """Returns the name of the folder, which tells apart all that the samples depend on."""
    model = self._model
    drawn_by = {
      "training_step": model.step,
      "ema": model.ema,
      "sampler": str(self._sampler),
      "first_seed": self._first_seed,
      "clip_denoised": model.config.sampling.clip_denoised,
      "image_shape": list(self._image_shape),
    }
    if model.config.sampling.dynamic_threshold:
      drawn_by["dynamic_threshold"] = model.config.sampling.dynamic_threshold
    if model.config.sampling.truncate:
      drawn_by["truncate"] = True
    if model.config.sampling.consistent:
      drawn_by["consistent"] = True
    drawn_by |= model.guidance
    if self._base is not None:
      drawn_by["base"] = self._base.folder.name
    if model.other_variance:
      drawn_by["fixed_variance"] = model.other_variance
    if model.other_precision:
      drawn_by["precision"] = model.other_precision
    # The step alone does not distinguish a run from one that was started anew in the same folder.
    key = zlib.crc32(json.dumps([drawn_by, trained_model.weights_checksum(model)]).encode())
    return f"step_{model.step}_ema_{model.ema}_{self._sampler}_{key:08x}"

  def _path(self, start):
    return self.folder / f"{start:08d}.npy"

  def _files(self, count):
    """Returns files up to `count` images, or up to the first image that is missing or damaged."""
    kept, start = [], 0
    while start < count and (length := self._length(start)):
      kept.append(_File(self._path(start), min(length, count - start)))
      start += length
    return kept

  def _is_drawn(self, start, count, batch_size):
    """Returns whether there is a whole batch at a position."""
    return self._length(start) >= min(batch_size, count - start)

  def _length(self, start):
    """Returns the number of images in the file that begins at a position, or 0 without one."""
    path = self._path(start)
    if not path.exists():
      return 0
    try:
      images = _mapped(path)
    except OSError:  # The error says nothing about the content of the file.
      raise
    except npz.ERRORS:
      return 0
    fits = images.dtype == np.uint8 and images.shape[1:] == self._image_shape
    return len(images) if fits else 0


class _File:
  """Images of a file, which is open only while it is read.

  There may be more files than a process may hold open.
  """

  def __init__(self, path: pathlib.Path, count: int):
    self._path, self._count = path, count

  def __len__(self) -> int:
    return self._count

  def __getitem__(self, index: int) -> np.ndarray:
    return _mapped(self._path)[index]


def _mapped(path: pathlib.Path) -> np.ndarray:
  return np.load(path, mmap_mode="r", allow_pickle=False)
