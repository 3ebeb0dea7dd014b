"""Batches that one or several processes make, as files on a disk that all of them have."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import json
import os
import pathlib
import shutil
import time
from typing import Any
import zlib

import numpy as np

from iddpm_tf.utils import cluster
from iddpm_tf.utils import files
from iddpm_tf.utils import progress as progress_lib

_PATIENCE = 120.0  # Seconds without a batch of another worker, at least.
_POLL_SECONDS = 0.5


class ChiefFinished(Exception):
  """The chief has made the batches of this worker itself, and has finished."""


def share_out(
  starts: Sequence[int],
  batch_size: int,
  workers: cluster.Cluster | None,
  *,
  make: Callable[[list[int]], Iterable[object]],
  is_made: Callable[[int], bool],
  progress: progress_lib.Progress,
  for_all: bool = False,
) -> None:
  """Makes every n-th batch of n workers.

  The chief then waits for the batches of the others, and makes those that do not come.

  Args:
    starts: the positions at which batches begin.
    batch_size: the distance of neighbouring positions.
    workers: the processes that make this call at the same time; None: this one is alone.
    make: makes the batches at some positions, and yields after each.
    is_made: whether the batch at a position is on the disk.
    progress: shows what is done.
    for_all: whether the others wait, too.
  """
  count = 1 if workers is None else len(workers.workers)
  number = 0 if workers is None else workers.number
  longest = 0.0

  def missing(positions: Iterable[int]) -> list[int]:
    return [start for start in positions if not is_made(start)]

  def make_missing(positions: Iterable[int]) -> None:
    nonlocal longest
    before = time.monotonic()
    for _ in make(positions) if (positions := missing(positions)) else ():
      now = time.monotonic()
      longest, before = max(longest, now - before), now

  # By absolute positions: a worker that begins later finds batches of the others.
  make_missing(start for start in starts if start // batch_size % count == number)
  if workers is None or not (workers.is_chief or for_all):
    return
  # Where all wait, they do not lose patience at the same time.
  patience = max(_PATIENCE, 10 * longest) * (1 + number)
  left, deadline = missing(starts), time.monotonic() + patience
  while left:
    time.sleep(_POLL_SECONDS)
    before, left = len(left), missing(left)
    if len(left) < before:
      deadline = time.monotonic() + patience
    elif time.monotonic() > deadline:
      progress.say(f"note: no worker has made a batch for {patience:.0f} s; making one here")
      make_missing(left[:1])


class SharedBatches:
  """Arrays that processes make batch by batch, in a folder that is deleted at the end.

  A command that was stopped finds the batches that it has made, because the name of the folder
  depends on all that they depend on.

  Attributes:
    folder: the folder of the batches.
    workers: the processes, or None.
  """

  def __init__(
    self,
    parent: str | os.PathLike[str],
    key: Any,
    workers: cluster.Cluster | None,
    *,
    progress: progress_lib.Progress,
  ):
    """Makes the folder.

    Args:
      parent: the folder that it lies in, on a disk that all workers have.
      key: all that the batches depend on, as JSON.
      workers: the processes that make the same calls; None: this one is alone.
      progress: shows what is done.
    """
    checksum = zlib.crc32(json.dumps(key, sort_keys=True).encode())
    self.folder = pathlib.Path(parent) / f".shared_{checksum:08x}"
    self.workers, self._progress = workers, progress
    self.folder.mkdir(parents=True, exist_ok=True)

  @property
  def is_chief(self) -> bool:
    """Whether this process has all batches in the end: it is the first worker, or alone."""
    return self.workers is None or self.workers.is_chief

  def share(
    self,
    name: str,
    starts: Sequence[int],
    batch_size: int,
    make: Callable[[list[int]], Iterable[Sequence[np.ndarray]]],
    *,
    for_all: bool = False,
  ) -> None:
    """Makes every n-th batch of n workers. `load` has all of them when the chief's call returns.

    Args:
      name: distinguishes these batches from others in the folder.
      starts: the positions at which batches begin.
      batch_size: the distance of neighbouring positions.
      make: yields the arrays of the batches at some positions.
      for_all: whether the calls of the other workers, too, wait for all batches.

    Raises:
      ChiefFinished: the chief did not wait for this worker.
    """

    def write(positions: list[int]) -> Iterator[None]:
      for start, arrays in zip(positions, make(positions), strict=True):
        try:
          with files.whole(self._path(name, start)) as temporary:
            np.savez(temporary, *arrays)
        except FileNotFoundError:
          self._require_folder()
          raise
        yield

    def is_made(start: int) -> bool:
      self._require_folder()
      return self._path(name, start).exists()

    share_out(
      starts,
      batch_size,
      self.workers,
      make=write,
      is_made=is_made,
      progress=self._progress,
      for_all=for_all,
    )

  def load(self, name: str, starts: Iterable[int]) -> list[np.ndarray]:
    """Returns the arrays of batches, each concatenated over the batches.

    Args:
      name: the name of the batches.
      starts: the positions at which they begin.

    Raises:
      ChiefFinished: the chief has deleted them.
    """
    parts = []
    try:
      for start in starts:
        with np.load(self._path(name, start), allow_pickle=False) as content:
          parts.append([content[f"arr_{i}"] for i in range(len(content.files))])
    except FileNotFoundError:
      self._require_folder()
      raise
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]

  def clear(self) -> None:
    """Deletes the batches; the chief calls it when nobody needs them any longer."""
    shutil.rmtree(self.folder, ignore_errors=True)

  def _require_folder(self) -> None:
    if self.workers is not None and not self.folder.exists():
      raise ChiefFinished(f"the chief has finished without worker {self.workers.number}")

  def _path(self, name: str, start: int) -> pathlib.Path:
    return self.folder / f"{name}_{start:08d}.npz"
