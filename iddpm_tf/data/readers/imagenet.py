"""Downsampled ImageNet as its authors publish it: .npz batches of 32x32 or 64x64.

`data` is uint8 [N, 3 * S * S], in which each image is [3, S, S]. `labels` are 1 to 1000. Chrabaszcz
et al., "A Downsampled Variant of ImageNet", 2017.
"""

import bisect
from collections.abc import Iterable
from collections.abc import Iterator
import itertools
import math
import pathlib
import re

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data.readers import listing
from iddpm_tf.utils import npz

_LAYOUT = "a folder with train_data_batch_1.npz and so on (and val_data.npz)"
_TEST_FILE = "val_data.npz"


def splits(config: config_lib.DataConfig) -> tuple[str, ...]:
  """Returns the splits that the folder of batches has.

  Raises:
    InputError: there is no such folder.
  """
  folder = listing.require_data_dir(config, _LAYOUT)
  return ("train", "test") if (folder / _TEST_FILE).is_file() else ("train",)


def open_listing(config: config_lib.DataConfig, split: str) -> listing.Listing:
  """Returns the listing of a split; `test` is `val_data.npz`.

  Raises:
    InputError: there is no such folder or split, or its files are not as their authors made them.
  """
  folder = listing.require_data_dir(config, _LAYOUT)
  train = _in_numeric_order(folder.glob("train_data_batch_*.npz"))
  if not train:
    raise settings.InputError(
      "data_dir", f"expected {_LAYOUT}, received {folder}, which has no such batch"
    )
  if split not in splits(config):
    raise settings.InputError(
      "data_dir", f"expected {_TEST_FILE} in {folder} for the split {split!r}, found none"
    )
  batches = [_Batch(path) for path in train]
  # Labels begin at 1, and the largest one in training is the number of classes.
  num_classes = max(int(batch.labels.max()) + 1 for batch in batches)
  if split == "test":
    batches = [_Batch(folder / _TEST_FILE)]
    largest = int(batches[0].labels.max()) + 1
    if largest > num_classes:
      raise settings.InputError(
        "data_dir",
        f"expected labels of 1 to {num_classes} in {folder}/{_TEST_FILE}, as in training, "
        f"received {largest}",
      )
  return _Batches(batches, num_classes)


class _Batches(listing.Listing):
  """A listing of several batches, one of which is in memory at a time."""

  name = "imagenet_npz"
  channels = 3

  def __init__(self, batches: list["_Batch"], num_classes: int):
    self._batches, self.num_classes = batches, num_classes
    self._ends = list(itertools.accumulate(len(batch.labels) for batch in batches))

  def __len__(self) -> int:
    return self._ends[-1]

  def pictures(self, start: int, stop: int) -> Iterator[listing.Picture]:
    while start < stop:
      number = bisect.bisect_right(self._ends, start)
      batch, end = self._batches[number], min(stop, self._ends[number])
      first = self._ends[number] - len(batch.labels)
      yield from batch.pictures(start - first, end - first)
      start = end

  def identities(self) -> Iterator[str]:
    for batch in self._batches:
      yield f"{batch.path.name} {batch.side}"
      yield batch.labels.tobytes().hex()


class _Batch:
  """One file, whose labels are in memory.

  Attributes:
    path: the file.
    labels: int32 [N], beginning at 0.
    side: the height and width of the images.
  """

  def __init__(self, path: pathlib.Path):
    self.path = path
    shape, dtype = npz.header(path, "data")
    labels = npz.read(path, "labels")["labels"]
    if labels.dtype.kind not in "iu" or not labels.size:
      raise settings.InputError(
        path, f"expected 'labels' as integers, received {labels.dtype} {list(labels.shape)}"
      )
    self.labels = labels.astype(np.int32).reshape(-1) - 1
    self.side = math.isqrt(shape[1] // 3) if len(shape) == 2 else 0
    expected_shape = (len(self.labels), 3 * self.side**2)
    if dtype != np.uint8 or shape != expected_shape or not self.side:
      raise settings.InputError(
        path,
        f"expected 'data' as uint8 [{len(self.labels)}, 3 * S * S], one row per label, "
        f"received {dtype} {list(shape)}",
      )
    if self.labels.min() < 0:
      raise settings.InputError(
        path, f"expected labels of at least 1, received {self.labels.min() + 1}"
      )

  def pictures(self, start: int, stop: int) -> Iterator[listing.Picture]:
    """Yields the pictures from position `start` up to `stop`."""
    data = npz.read(self.path, "data")["data"]  # 1.6 GB for ImageNet at 64x64.
    for position in range(start, stop):
      # [3 * S * S] -> [3, S, S] -> [S, S, 3]; a copy, so that no picture keeps the whole batch in
      # memory.
      pixels = data[position].reshape(3, self.side, self.side).transpose(1, 2, 0).copy()
      yield listing.Picture(f"{self.path.name}[{position}]", pixels, int(self.labels[position]))


def _in_numeric_order(paths: Iterable[pathlib.Path]) -> list[pathlib.Path]:
  """Returns paths sorted by the numbers in their names, such as batch 10 after batch 9."""
  return sorted(paths, key=lambda path: (list(map(int, re.findall(r"\d+", path.stem))), path.name))
