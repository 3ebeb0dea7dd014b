"""Reading records: shards mapped into memory, indexed as one array."""

import json
import pathlib

import numpy as np

from iddpm_tf import settings
from iddpm_tf.data.records import shards as shards_lib
from iddpm_tf.data.records import statistics


class RecordImages:
  """uint8 [N, H, W, C] on disk; a slice or int [B] gives uint8 [B, H, W, C] in memory."""

  dtype = np.dtype(np.uint8)

  def __init__(self, arrays, image_shape):
    self._arrays = arrays
    self._ends = np.cumsum([len(array) for array in arrays])
    self._starts = self._ends - [len(array) for array in arrays]
    self.shape = (int(self._ends[-1]), *image_shape)

  def __len__(self):
    return self.shape[0]

  def __getitem__(self, index):
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
    # Image by image, which is as fast as NumPy's own gathering and the same for any number of shards.
    for row, (number, position) in enumerate(
      zip(shard.tolist(), (index - self._starts[shard]).tolist())
    ):
      images[row] = self._arrays[number][position]
    return images


class Records:
  """A folder that `trainers.prepare_data` has made.

  Raises:
    ValueError: it is none, not finished, or does not agree with a `DataConfig`.
  """

  def __init__(self, config):
    if not config.data_dir:
      raise settings.InputError("data_dir", "expected a folder of records, received nothing")
    self._folder = pathlib.Path(config.data_dir)
    self._index = _read_index(self._folder)
    self.image_shape = tuple(self._index["image_shape"])
    self.num_classes = self._index["num_classes"]
    self.class_names = tuple(self._index["class_names"])
    if config.image_size and self.image_shape[:2] != (config.image_size,) * 2:
      height, width, _ = self.image_shape
      raise settings.InputError(
        "image_size",
        f"expected {height}x{width}, the size of the records in {self._folder}, or "
        f"nothing, received {config.image_size}",
      )
    # Of a default nobody knows whether it was given; without a size nothing was resized.
    for name in (
      ("resize", "folder_labels") if self._index.get("image_size") else ("folder_labels",)
    ):
      given, made_with = getattr(config, name), self._index.get(name)
      if given not in (made_with, getattr(type(config)(), name)) and made_with is not None:
        raise settings.InputError(
          name,
          f"expected {made_with}, with which the records in {self._folder} were "
          f"made, or nothing, received {given}",
        )

  @property
  def splits(self):
    return tuple(self._index["splits"])

  def load(self, split):
    """`RecordImages` of a split, and int32 [N] of its labels; files are checked by size and shape."""
    content = self._split(split)
    images, labels = [], []
    for shard in content["shards"]:
      if shard["count"]:
        of_images, of_labels = shard["files"]
        images.append(self._open(split, of_images, np.uint8, (shard["count"], *self.image_shape)))
        labels.append(self._open(split, of_labels, np.int32, (shard["count"],)))
    if not images:
      raise settings.InputError(
        "data_dir", f"expected images in {self._folder / split}, found none"
      )
    return RecordImages(images, self.image_shape), np.concatenate(labels)

  def verify(self, split, on_file=lambda: None):
    """Reads every file of a split; `ValueError` that names one whose checksum is wrong."""
    for shard in self._split(split)["shards"]:
      for file in shard["files"]:
        path = self._folder / split / file["name"]
        self._require_size(path, file)
        if shards_lib.checksum(path) != file["sha256"]:
          raise settings.InputError(
            path,
            f"expected the SHA-256 {file['sha256'][:16]}... of {shards_lib.INDEX}, received "
            "another: the file has changed since it was made",
          )
        on_file()

  def files(self, split):
    return sum(len(shard["files"]) for shard in self._split(split)["shards"])

  def unreadable(self, split):
    """[[name, reason]] of the pictures that were left out."""
    return self._split(split)["unreadable"]

  def statistics(self, split):
    """`Statistics` of the pictures that the records were made of."""
    result = statistics.Statistics()
    for path in sorted((self._folder / split).glob("shard-*.json")):
      try:
        result.merge(statistics.Statistics.from_json(json.loads(path.read_text())["statistics"]))
      except (ValueError, KeyError, TypeError, AttributeError):
        raise settings.InputError(path, "expected the facts of a shard in JSON") from None
    return result

  def _split(self, split):
    if split not in self._index["splits"]:
      raise settings.InputError(
        "data_dir",
        f"expected records of {split!r} in {self._folder}, which has {', '.join(self.splits)} only",
      )
    return self._index["splits"][split]

  def _open(self, split, file, dtype, shape):
    path = self._folder / split / file["name"]
    self._require_size(path, file)
    try:
      # A plain array over the map: indexing is several times faster than that of np.memmap.
      array = np.asarray(np.load(path, mmap_mode="r"))
    except (OSError, ValueError) as error:
      raise settings.InputError(path, f"expected an .npy file ({error})") from None
    if array.dtype != dtype or array.shape != shape:
      raise settings.InputError(
        path,
        f"expected {np.dtype(dtype)} {list(shape)}, received {array.dtype} {list(array.shape)}",
      )
    return array

  def _require_size(self, path, file):
    try:
      size = path.stat().st_size
    except OSError as error:
      raise settings.InputError(
        path, f"{error.strerror}, though {shards_lib.INDEX} lists it"
      ) from None
    if size != file["bytes"]:
      raise settings.InputError(
        path,
        f"expected {file['bytes']} bytes, found {size}; it is "
        f"{'truncated' if size < file['bytes'] else 'another file'}",
      )


def _read_index(folder):
  path = folder / shards_lib.INDEX
  if not path.is_file():
    if (folder / shards_lib.PLAN).is_file():
      raise settings.InputError(
        "data_dir",
        f"expected finished records, received {folder}, which trainers.prepare_data has "
        "begun; the same command goes on",
      )
    raise settings.InputError(
      "data_dir",
      f"expected a folder that trainers.prepare_data made (with {shards_lib.INDEX}), "
      f"received {folder}",
    )
  try:
    index = json.loads(path.read_text())
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
    raise settings.InputError(path, "expected the index of records in JSON") from None
  if version != shards_lib.VERSION or not complete:
    raise settings.InputError(
      path,
      f"expected an index of version {shards_lib.VERSION}, received {version!r}, or one that "
      "lacks something",
    )
  return index
