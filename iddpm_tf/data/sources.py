"""Where images come from: one call for every kind of data."""

import importlib
import shlex
from typing import Any
from typing import NamedTuple

import numpy as np

from iddpm_tf import settings
from iddpm_tf.data import decoding
from iddpm_tf.data.readers import listing

MAX_BYTES = 4 * 2**30  # Of images in memory; beyond, they are prepared as records once.
_LISTINGS = {"folder": "folders", "imagenet_npz": "imagenet", "lsun": "lsun"}
_WITHOUT_TENSORFLOW = (*_LISTINGS, "records", "photos")


class Source(NamedTuple):
  """A split of a data set."""

  name: str
  # uint8 [N, H, W, C]: an array, or what has `shape`, `dtype` and `len` and gives uint8 [B, H, W, C] for a
  # slice or for int [B].
  images: Any
  labels: np.ndarray  # int32 [N]; 0 where the data has none.
  num_classes: int  # 0: no labels.


def load(config, split):
  """The split `train` or `test` of a `DataConfig`'s data set; never downloads.

  Raises:
    ValueError: no such data set or split, none prepared, pictures that cannot be read or are of several
      sizes, or more than fit in memory; in one line that says what to do.
  """
  if config.dataset == "records":
    from iddpm_tf.data.records import reading as records

    opened = records.Records(config)
    return _checked(Source(config.dataset, *opened.load(split), opened.num_classes))
  if config.dataset == "photos":
    from iddpm_tf.data.readers import photos

    images, labels, class_names = photos.load(config.image_size, split)
    return _checked(Source(config.dataset, images, labels, len(class_names)))
  return _checked(_in_memory(config, open_listing(config, split)))


def needs_tensorflow(dataset):
  """Whether its pictures are listed by TFDS."""
  return dataset not in _WITHOUT_TENSORFLOW


def open_listing(config, split):
  """The `Listing` of a split of raw pictures; `ValueError` if there is none."""
  return _module(config.dataset).open_listing(config, split)


def splits(config):
  """Those of `train` and `test` that a data set of raw pictures has."""
  return _module(config.dataset).splits(config)


def prepare_command(config, *flags):
  """The command line that makes records of a data set."""
  names = ("dataset", "data_dir", "image_size", "resize", "folder_labels")
  defaults = type(config)()
  given = [
    f"--{name}={getattr(config, name)}"
    for name in names
    if getattr(config, name) != getattr(defaults, name)
  ]
  return "python -m trainers.prepare_data " + shlex.join([*given, *flags]) + " --output_dir=DIR"


def _module(dataset):
  if dataset in ("records", "photos"):
    raise settings.InputError(
      "dataset",
      "expected raw pictures (folder, imagenet_npz, lsun, digits, or a TFDS data set), "
      f"received {dataset!r}, which needs no preparation",
    )
  return importlib.import_module(f"iddpm_tf.data.readers.{_LISTINGS.get(dataset, 'tfds')}")


def _in_memory(config, raw):
  """A `Source` of all pictures of a listing, decoded."""
  form = decoding.Form(config.image_size, config.resize, raw.channels)
  if form.size:
    _require_memory(config, raw, (form.size, form.size, form.channels))
  images, labels, unreadable, first = None, np.zeros(len(raw), np.int32), [], None
  for position, outcome in enumerate(decoding.outcomes(raw.pictures(0, len(raw)), form)):
    if not outcome.decoded:
      unreadable.append(outcome)
      continue
    if images is None:
      first = outcome.name
      _require_memory(config, raw, outcome.decoded.pixels.shape)
      images = np.empty([len(raw), *outcome.decoded.pixels.shape], np.uint8)
    decoding.require_same_shape(outcome, images.shape[1:], first)
    images[position], labels[position] = outcome.decoded.pixels, outcome.label
  if unreadable:
    worst = unreadable[0]
    raise settings.InputError(
      "dataset",
      f"{len(unreadable)} of {len(raw)} pictures of {raw.name} cannot be read, the first being "
      f"{listing.printable(worst.name)}: it {worst.reason}; to do without them: "
      f"{prepare_command(config, '--unreadable=skip')}",
    )
  return Source(raw.name, images, labels, raw.num_classes)


def _require_memory(config, raw, shape):
  size = len(raw) * int(np.prod(shape))
  if size > MAX_BYTES:
    raise settings.InputError(
      "dataset",
      f"expected at most {MAX_BYTES / 2**30:.1f} GiB of images in memory, received "
      f"{size / 2**30:.1f} ({len(raw):,} of {raw.name}); make records, and train on --dataset=records: "
      f"{prepare_command(config)}",
    )


def _checked(source):
  if source.images.dtype != np.uint8:
    raise settings.InputError(
      "dataset", f"expected images of uint8, received {source.images.dtype} ({source.name})"
    )
  labels, classes = source.labels, max(source.num_classes, 1)
  wrong = labels[(labels < 0) | (labels >= classes)]
  if wrong.size:
    raise settings.InputError(
      "dataset", f"expected labels of {source.name} in [0, {classes}), received {wrong[0]}"
    )
  return source
