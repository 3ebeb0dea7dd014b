"""Reading of records: shards that are mapped into memory and indexed as one array."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data.records import shards as shards_lib
from iddpm_tf.data.records import statistics as statistics_lib
from iddpm_tf.utils import files
from iddpm_tf.utils import progress as progress_lib


class RecordImages:
  """Images on the disk, indexed like an array.

  Attributes:
    shape: (N, H, W, C).
    dtype: uint8.
  """

  dtype = np.dtype(np.uint8)

  def __init__(self, arrays: list[np.ndarray], image_shape: tuple[int, ...]):
    """Makes the images of memory-mapped shards.

    Args:
      arrays: uint8 [n, H, W, C] for each shard.
      image_shape: (H, W, C).
    """
    self._arrays = arrays
    self._ends = np.cumsum([len(array) for array in arrays])
    self._starts = self._ends - [len(array) for array in arrays]
    self.shape = (int(self._ends[-1]), *image_shape)

  def __len__(self) -> int:
    return self.shape[0]

  def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
    """Returns uint8 [B, H, W, C] in memory for a slice or for int [B]."""
    if isinstance(index, slice):
      index = np.arange(*index.indices(len(self)))
    index = np.asarray(index)
    if index.size and not (-len(self) <= index.min() and index.max() < len(self)):
      raise IndexError(
        f"expected positions below {len(self)}, received {index.min()} to {index.max()}"
      )
    index = index % len(self)
    shard = np.searchsorted(self._ends, index, side="right")
    images = np.empty([len(index), *self.shape[1:]], np.uint8)
    # Image by image, which is as fast as NumPy's own gathering and works over several shards.
    for row, (number, position) in enumerate(
      zip(shard.tolist(), (index - self._starts[shard]).tolist())
    ):
      images[row] = self._arrays[number][position]
    return images


def begun_in(folder: str | None) -> bool:
  """Returns whether records were prepared in a folder, to their end or not."""
  try:
    plan = files.read_json(pathlib.Path(folder) / shards_lib.PLAN) if folder else {}
  except (OSError, ValueError):
    return False
  return isinstance(plan, dict) and {"image_shape", "shard_size"} <= plan.keys()


class Records:
  """A folder of finished records.

  Attributes:
    image_shape: (H, W, C).
    num_classes: the number of classes; 0: the data has no labels.
    class_names: their names; empty where they are unknown.
  """

  def __init__(self, config: config_lib.DataConfig):
    """Reads the index of the folder `config.data_dir`.

    Raises:
      InputError: there are no finished records, or they contradict the configuration.
    """
    if not config.data_dir:
      raise settings.InputError("data_dir", "expected a folder of records, received nothing")
    self._folder = pathlib.Path(config.data_dir)
    self._index = _read_index(self._folder)
    self.image_shape = tuple(self._index["image_shape"])
    self.num_classes = self._index["num_classes"]
    self.class_names = tuple(self._index["class_names"])
    self._require_same(config)

  @property
  def splits(self) -> tuple[str, ...]:
    """The names of the splits."""
    return tuple(self._index["splits"])

  @property
  def treatment(self) -> dict[str, Any]:
    """The settings, by name, that decided which pixels the pictures have."""
    old = config_lib.DataConfig.before(5)
    return {name: self._index.get(name, getattr(old, name)) for name in shards_lib.PIXEL_SETTINGS}

  def load(self, split: str) -> tuple[RecordImages, np.ndarray]:
    """Returns the images of a split, and their labels, int32 [N].

    Raises:
      InputError: there is no such split, it has no images, or the size or the type of a file is not
        as it was written.
    """
    images, labels = [], []
    for shard in self._split(split)["shards"]:
      if shard["count"]:
        image_file, label_file = shard["files"]
        shape = (shard["count"], *self.image_shape)
        images.append(self._open(split, image_file, np.uint8, shape))
        labels.append(self._open(split, label_file, np.int32, shape[:1]))
    if not images:
      raise settings.InputError(
        "data_dir", f"expected images in {self._folder / split}, found none"
      )
    return RecordImages(images, self.image_shape), np.concatenate(labels)

  def verify(self, split: str, *, progress: progress_lib.Progress | None = None) -> int:
    """Compares the checksum of every file of a split with the index.

    Args:
      split: the split.
      progress: shows the files that are read.

    Returns:
      The number of files.

    Raises:
      InputError: a file is not as it was written.
    """
    progress = progress or progress_lib.Silent()
    listed = [file for shard in self._split(split)["shards"] for file in shard["files"]]
    with progress.bar(total=len(listed), unit="file", description=split) as bar:
      for file in listed:
        path = self._folder / split / file["name"]
        _require_size(path, file["bytes"])
        if shards_lib.checksum(path) != file["sha256"]:
          raise settings.InputError(
            path,
            f"expected the SHA-256 {file['sha256'][:16]}... of {shards_lib.INDEX}, received "
            "another: the file has changed since it was written",
          )
        bar.update()
    return len(listed)

  def unreadable(self, split: str) -> list[list[str]]:
    """Returns the name and the reason, `[name, reason]`, of each picture that was left out."""
    return self._split(split)["unreadable"]

  def statistics(self, split: str) -> statistics_lib.Statistics:
    """Returns the statistics of the pictures of a split before they were prepared.

    Raises:
      InputError: the facts of a shard cannot be read.
    """
    total = statistics_lib.Statistics()
    for path in sorted((self._folder / split).glob("shard-*.json")):
      try:
        facts = files.read_json(path)
        total.merge(statistics_lib.Statistics.from_json(facts["statistics"]))
      except (ValueError, KeyError, TypeError, AttributeError):
        raise settings.InputError(
          path, "expected the facts of a shard in JSON, received another file"
        ) from None
    return total

  def _split(self, split: str) -> dict[str, Any]:
    if split not in self._index["splits"]:
      raise settings.InputError(
        "data_dir",
        f"expected records of the split {split!r}, received {self._folder}, which has "
        f"{', '.join(self.splits)} only",
      )
    return self._index["splits"][split]

  def _open(
    self, split: str, file: dict[str, Any], dtype: type, shape: tuple[int, ...]
  ) -> np.ndarray:
    """Maps a file into memory."""
    path = self._folder / split / file["name"]
    _require_size(path, file["bytes"])
    try:
      # A plain array over the map: indexing is several times faster than that of np.memmap.
      array = np.asarray(np.load(path, mmap_mode="r"))
    except (OSError, ValueError) as error:
      raise settings.InputError(
        path, f"expected an .npy file, received another file ({error})"
      ) from None
    if array.dtype != dtype or array.shape != shape:
      raise settings.InputError(
        path,
        f"expected {np.dtype(dtype)} {list(shape)}, received {array.dtype} {list(array.shape)}",
      )
    return array

  def _require_same(self, config: config_lib.DataConfig) -> None:
    """Raises an error for settings that contradict those that the records were prepared with."""
    prepared_from = self._index.get("dataset", config.dataset)
    if config.dataset not in ("records", prepared_from):
      raise settings.InputError(
        "dataset",
        f"expected records or {prepared_from}, from which those in {self._folder} were prepared, "
        f"received {config.dataset}",
      )
    if config.image_size and self.image_shape[:2] != (config.image_size, config.image_size):
      height, width, _ = self.image_shape
      raise settings.InputError(
        "image_size",
        f"expected {height}x{width}, the size of the records in {self._folder}, or nothing, "
        f"received {config.image_size}",
      )
    channels = self.image_shape[-1]
    if config.channels not in (0, channels):
      raise settings.InputError(
        "channels",
        f"expected {channels}, the channels of the records in {self._folder}, or nothing, received "
        f"{config.channels}",
      )
    # Without a size nothing was resized. Nobody knows whether the user gave a value that equals the
    # default.
    names = [*shards_lib.PIXEL_SETTINGS, "folder_labels"]
    names += ["resize"] if self._index.get("image_size") else []
    fields = {field.name: field for field in dataclasses.fields(config)}
    for name in names:
      default, old = fields[name].default, fields[name].metadata["old"]
      value, prepared_with = getattr(config, name), self._index.get(name, old)
      if value not in (prepared_with, default, old):
        raise settings.InputError(
          name,
          f"expected {prepared_with}, with which the records in {self._folder} were prepared, or "
          f"nothing, received {value}",
        )


def _require_size(path: pathlib.Path, expected: int) -> None:
  """Raises an error unless a file has the size of the index."""
  try:
    size = path.stat().st_size
  except OSError as error:
    raise settings.InputError(
      path, f"expected a file, since {shards_lib.INDEX} lists it ({error.strerror})"
    ) from None
  if size != expected:
    kind = "truncated" if size < expected else "another file"
    raise settings.InputError(path, f"expected {expected} bytes, received {size}: it is {kind}")


def _read_index(folder: pathlib.Path) -> dict[str, Any]:
  path = folder / shards_lib.INDEX
  if not path.is_file():
    if (folder / shards_lib.PLAN).is_file():
      raise settings.InputError(
        "data_dir",
        f"expected finished records, received {folder}, whose preparation has begun and is not "
        "finished; prepare it again with the same settings, which continues",
      )
    raise settings.InputError(
      "data_dir",
      f"expected a folder of records (with {shards_lib.INDEX}), received {folder}; records are "
      "prepared from pictures first",
    )
  try:
    index = files.read_json(path)
    version = index["version"]
    complete = (
      len(index["image_shape"]) == 3
      and isinstance(index["num_classes"], int)
      and isinstance(index["class_names"], list)
      and all(
        isinstance(shard["count"], int)
        and len(shard["files"]) == 2
        and all(file.keys() >= {"name", "bytes", "sha256"} for file in shard["files"])
        for split in index["splits"].values()
        for shard in split["shards"]
      )
    )
  except (ValueError, KeyError, TypeError, AttributeError):
    raise settings.InputError(
      path, "expected the index of records in JSON, received another file"
    ) from None
  if version != shards_lib.VERSION or not complete:
    raise settings.InputError(
      path,
      f"expected a complete index of version {shards_lib.VERSION}, received version {version!r}, "
      f"{'complete' if complete else 'incomplete'}",
    )
  return index
