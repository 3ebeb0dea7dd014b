"""Sources of images: one type for every kind of data, from files or from arrays."""

from collections.abc import Sequence
import importlib
from typing import Any
from typing import NamedTuple
import zlib

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import arrays
from iddpm_tf.data import decoding
from iddpm_tf.data.readers import listing
from iddpm_tf.data.records import reading
from iddpm_tf.data.records import statistics as statistics_lib
from iddpm_tf.utils import progress as progress_lib

# The most bytes of images that `load` keeps in memory. More are prepared as records once.
MAX_BYTES = 4 * 2**30
# The `dataset` of a model that was trained on arrays.
ARRAYS = "arrays"
_CHUNK = 1000  # Images of a checksum at a time.
_LISTINGS = {"folder": "folders", "imagenet_npz": "imagenet", "lsun": "lsun"}
_WITHOUT_TENSORFLOW = (*_LISTINGS, "records", "photos", ARRAYS)


class Source(NamedTuple):
  """A split of a data set. Any data in this form can be trained on and evaluated.

  Attributes:
    name: the name of the data, for messages.
    images: uint8 [N, H, W, C], where C is 1, 3 or 4: an array, or anything with `shape`, `dtype`
      and `len` that returns uint8 [B, H, W, C] for a slice and for int [B], such as images on the
      disk.
    labels: int32 [N], from 0 to `num_classes` - 1; all 0 where the data has no labels.
    num_classes: the number of classes; 0 where the data has no labels.
    class_names: the names of the classes; empty where they are unknown.
    notes: lines that a user should read, such as what was ignored.
  """

  name: str
  images: arrays.Images
  labels: np.ndarray
  num_classes: int
  class_names: tuple[str, ...] = ()
  notes: tuple[str, ...] = ()


def from_arrays(
  images: arrays.Images,
  labels: np.ndarray | Sequence[int] | None = None,
  *,
  class_names: Sequence[str] = (),
  name: str = ARRAYS,
) -> Source:
  """Returns a source of images that the caller has.

  Args:
    images: uint8 [N, H, W, C], where C is 1, 3 or 4: an array, or anything with `shape`, `dtype`
      and `len` that is indexed by slices and by int [B], as NumPy's arrays are.
    labels: integers [N] from 0 on; None: the data has no labels.
    class_names: the names of the classes. Without them there are `labels.max() + 1` classes.
    name: the name of the data, for messages.

  Raises:
    InputError: the images, labels or class names do not have this form.
  """
  images = arrays.require_images(images)
  class_names = tuple(class_names)
  if labels is None:
    if class_names:
      raise settings.InputError("class_names", "requires labels")
    return Source(name, images, np.zeros(len(images), np.int32), 0)
  labels = arrays.require_labels(labels, len(images), None)
  assert labels is not None
  num_classes = len(class_names) or int(labels.max()) + 1
  if labels.max() >= num_classes:
    raise settings.InputError(
      "class_names",
      f"expected at least {labels.max() + 1} names, one per class, since the largest label is "
      f"{labels.max()}, received {num_classes}",
    )
  return Source(name, images, labels, num_classes, class_names)


def load(config: config_lib.DataConfig, split: str) -> Source:
  """Returns a split of a data set.

  A TFDS data set that is not prepared is downloaded first, if `config.download` is true. Where
  `config.data_dir` holds records of the data set, they are read in place of its own files.

  Args:
    config: the configuration of the data.
    split: `train`, `val` or `test`.

  Raises:
    InputError: there is no such data set or split, pictures cannot be read or have several sizes,
      or they do not fit into the memory.
  """
  _require_files(config.dataset)
  if records := records_of(config):
    images, labels = records.load(split)
    source = Source("records", images, labels, records.num_classes, records.class_names)
  elif config.dataset == "photos":
    from iddpm_tf.data.readers import photos

    _require_split(config.dataset, split)
    crops, labels = photos.load(config.image_size, split)
    source = Source("photos", crops, labels, len(photos.CLASS_NAMES), photos.CLASS_NAMES)
  else:
    source = _in_memory(config, open_listing(config, split))
  channels = source.images.shape[-1]
  if config.channels not in (0, channels):
    raise settings.InputError(
      "channels",
      f"expected {channels}, as {source.name} has, or nothing, received {config.channels}",
    )
  return numbered_as(checked(source), config.class_names)


def records_of(config: config_lib.DataConfig) -> reading.Records | None:
  """Returns the records that hold a data set, or None where its own files do.

  Raises:
    InputError: the records contradict the configuration.
  """
  if config.dataset == "records" or reading.begun_in(config.data_dir):
    return reading.Records(config)
  return None


def numbered_as(source: Source, class_names: Sequence[str]) -> Source:
  """Returns a source whose classes have the numbers of their names in another list.

  The source is returned as it is if it does not have the same names in another order.

  Args:
    source: the source.
    class_names: the names of the classes of a model by number; empty if they are unknown.
  """
  names = tuple(class_names)
  same = len(names) == len(set(names)) and sorted(names) == sorted(source.class_names)
  if not same or names == source.class_names:
    return source
  numbers = np.array([names.index(name) for name in source.class_names], np.int32)
  return source._replace(labels=numbers[source.labels], class_names=names)


def choosing_split(config: config_lib.DataConfig) -> str:
  """Returns the split that a model is chosen by: `val` where there is one beside `test`."""
  if records := records_of(config):
    available = records.splits
  elif config.dataset == "folder":
    available = splits(config)
  else:
    available = ()
  return "val" if "val" in available else "test"


def held_out_split(config: config_lib.DataConfig) -> str | None:
  """Returns the split that a model is chosen by, as `choosing_split`; None where there is none."""
  if config.dataset == ARRAYS:
    return None
  if config.dataset == "photos":
    return "test"
  records = records_of(config)
  available = records.splits if records else splits(config)
  return next((split for split in ("val", "test") if split in available), None)


def require_data_dir(config: config_lib.DataConfig) -> None:
  """Checks that a data set which lies in a folder has one. This imports no TensorFlow.

  Raises:
    InputError: the folder is not given, or there is no such folder; or no file holds the data.
  """
  _require_files(config.dataset)
  if config.dataset in (*_LISTINGS, "records"):
    listing.require_data_dir(config, f"the folder of {config.dataset}")


def checked(source: Source) -> Source:
  """Returns a source after checking the type of its images and the range of its labels.

  Raises:
    InputError: the images are not uint8, or a label is not a class.
  """
  if source.images.dtype != np.uint8:
    raise settings.InputError(
      "dataset", f"expected images of uint8, received {source.images.dtype} ({source.name})"
    )
  labels, classes = source.labels, max(source.num_classes, 1)
  wrong = labels[(labels < 0) | (labels >= classes)]
  if wrong.size:
    raise settings.InputError(
      "dataset",
      f"expected labels of {source.name} from 0 to {classes - 1}, received {wrong[0]}",
    )
  return source


def with_at_most(source: Source, count: int) -> Source:
  """Returns a source of some of its images, evenly spaced, so that classes keep their shares.

  Args:
    source: the source.
    count: the number of images to keep. All are kept if it is 0, or if there are fewer.
  """
  positions = arrays.evenly(count, len(source.images))
  if len(positions) == len(source.images):
    return source
  images = arrays.Selected(source.images, positions)
  in_memory = isinstance(source.images, np.ndarray)
  return source._replace(
    name=f"{len(positions):,} images of {source.name}",
    images=images[:] if in_memory else images,
    labels=source.labels[positions],
  )


def say_notes(source: Source, progress: progress_lib.Progress) -> None:
  """Shows the notes of a source, a line each."""
  for note in source.notes:
    progress.say(f"note: {note}")


def checksum(source: Source) -> str:
  """Returns a checksum of a source: its size, its labels, and at most 1,000 of its images."""
  chosen = np.unique(np.linspace(0, len(source.images) - 1, 1000).astype(np.int64))
  crc = zlib.crc32(repr(tuple(source.images.shape)).encode())
  for array in (source.labels, source.images[chosen]):
    crc = zlib.crc32(np.ascontiguousarray(array).data, crc)
  return f"{crc:08x}"


def checksum_of_all(source: Source) -> str | None:
  """Returns a checksum of all labels and images of a source in memory.

  Returns:
    The checksum; None for images that are on the disk or above `MAX_BYTES`, which take too long.
  """
  images = source.images
  in_memory = isinstance(images, np.ndarray) and not isinstance(images, np.memmap)
  if not in_memory or int(np.prod(images.shape)) > MAX_BYTES:
    return None
  crc = zlib.crc32(repr(tuple(images.shape)).encode())
  crc = zlib.crc32(np.ascontiguousarray(source.labels).data, crc)
  for start in range(0, len(images), _CHUNK):
    crc = zlib.crc32(np.ascontiguousarray(images[start : start + _CHUNK]).data, crc)
  return f"{crc:08x}"


def needs_tensorflow(dataset: str) -> bool:
  """Returns whether reading a data set imports TensorFlow, as TFDS does."""
  return dataset not in _WITHOUT_TENSORFLOW


def open_listing(config: config_lib.DataConfig, split: str) -> listing.Listing:
  """Returns the listing of a split of pictures that are to be decoded.

  Raises:
    InputError: there is no such data set or split, or it has no pictures to decode.
  """
  _require_split(config.dataset, split)
  return _reader(config.dataset).open_listing(config, split)


def splits(config: config_lib.DataConfig) -> tuple[str, ...]:
  """Returns the splits, of `train`, `val` and `test`, that a data set of pictures to decode has.

  Raises:
    InputError: there is no such data set, or it has no pictures to decode.
  """
  return _reader(config.dataset).splits(config)


def _reader(dataset: str) -> Any:
  """Returns the module of `data/readers` that lists the pictures of a data set."""
  _require_files(dataset)
  if dataset in ("records", "photos"):
    raise settings.InputError(
      "dataset",
      "expected pictures to decode (folder, imagenet_npz, lsun, digits, or a TFDS data set), "
      f"received {dataset!r}, which needs no preparation",
    )
  return importlib.import_module(f"iddpm_tf.data.readers.{_LISTINGS.get(dataset, 'tfds')}")


def _require_files(dataset: str) -> None:
  if dataset == ARRAYS:
    raise settings.InputError(
      "dataset",
      f"expected a data set in files, received {dataset!r}: the model was trained on arrays, which "
      "no file holds; pass the images (and labels) again, or name a data set that has them, such "
      "as a folder of pictures with its data_dir",
    )


def known_channels(config: config_lib.DataConfig, pictures: listing.Listing) -> int:
  """Returns the channels of the images that pictures become.

  Returns:
    1, 3 or 4; or 0 where the pictures must be read: 1 if all of them are grey, otherwise 3.
  """
  recorded = config.image_shape[-1] if config.image_shape else 0  # Those of a model.
  return config.channels or recorded or pictures.channels


def _require_split(dataset: str, split: str) -> None:
  """Raises an error for `val` of data that has no more than `train` and `test`."""
  if split == "val" and dataset not in ("folder", "records"):
    raise settings.InputError(
      "split", f"expected train or test, the splits that {dataset} may have, received 'val'"
    )


def _in_memory(config: config_lib.DataConfig, pictures: listing.Listing) -> Source:
  """Returns a source of all pictures of a listing, decoded."""
  channels = known_channels(config, pictures)
  form = decoding.form_of(config, channels or 3)
  count = len(pictures)
  if form.size:
    _require_memory(pictures, (form.size, form.size, channels or 1))
  images: np.ndarray | None = None
  first_name = ""
  labels, unreadable = np.zeros(count, np.int32), []
  statistics = statistics_lib.Statistics()
  for position, outcome in enumerate(decoding.outcomes(pictures.pictures(0, count), form)):
    if not outcome.decoded:
      unreadable.append(outcome)
      continue
    statistics.add(outcome)
    pixels, labels[position] = outcome.decoded.pixels, outcome.label
    if images is None:
      first_name, shape = outcome.name, pixels.shape
      # Grey pictures take one channel until the first one with colour.
      shape = (*shape[:2], shape[2] if channels else 1)
      _require_memory(pictures, shape)
      images = np.empty([count, *shape], np.uint8)
    decoding.require_same_size(outcome, images.shape[1:3], first_name)
    if images.shape[-1] < pixels.shape[-1] and not outcome.decoded.is_grey:
      _require_memory(pictures, pixels.shape)
      images = images.repeat(pixels.shape[-1], axis=-1)
    images[position] = pixels[..., : images.shape[-1]]
  if unreadable:
    first = unreadable[0]
    if len(unreadable) == count:
      message = listing.describe_unreadable(pictures, first.name, first.reason)
      raise settings.InputError("dataset", message)
    raise settings.InputError(
      "dataset",
      f"expected pictures that can all be read, received {len(unreadable)} of {count} of "
      f"{pictures.name} that cannot, the first being {listing.printable(first.name)}, which "
      f"{first.reason}; to leave them out, prepare records of the data, with 'skip' for unreadable",
    )
  assert images is not None
  notes = (*pictures.notes(), *statistics.notes(config.max_value))
  return Source(pictures.name, images, labels, pictures.num_classes, pictures.class_names, notes)


def _require_memory(pictures: listing.Listing, shape: tuple[int, ...]) -> None:
  size = len(pictures) * int(np.prod(shape))
  if size > MAX_BYTES:
    raise settings.InputError(
      "dataset",
      f"expected at most {MAX_BYTES / 2**30:.1f} GiB of images in memory, received "
      f"{size / 2**30:.1f} ({len(pictures):,} of {pictures.name}); prepare records of the data, "
      "and use them as the data set 'records'",
    )
