"""TFDS data sets by name, and the embedded digits, as lists of encoded pictures."""

import contextlib
import io

import numpy as np
import tensorflow_datasets as tfds

from iddpm_tf import settings
from iddpm_tf.data.readers import digits
from iddpm_tf.data.readers import listing


def splits(config):
  """The splits of a prepared data set."""
  prepared = _builder(config).info.splits
  return tuple(split for split in ("train", "test") if _tfds_split(split, prepared) in prepared)


def open_listing(config, split):
  """The `Listing` of a split; `test` is TFDS's `validation` where there is one. Never downloads."""
  builder = _builder(config)
  image = _feature(builder, "image")
  if not isinstance(image, tfds.features.Image) or None in image.shape and not config.image_size:
    raise settings.InputError(
      "dataset",
      f"expected a data set with an 'image' of one size{_or_image_size(image)}, received "
      f"{config.dataset!r}, with {builder.info.features!r}".replace("\n", " "),
    )
  if image.np_dtype != np.uint8 or image.shape[-1] not in (1, 3):
    raise settings.InputError(
      "dataset",
      f"expected images of uint8 with 1 or 3 channels, received {image.np_dtype} "
      f"{list(image.shape)} ({config.dataset})",
    )
  return _Tfds(config.dataset, builder, split)


class _Tfds(listing.Listing):
  """A split in the order of its files."""

  def __init__(self, name, builder, split):
    self.name = name
    # ImageNet's test split has no labels, nor have several others.
    self._split = _tfds_split(split, builder.info.splits)
    self._version = builder.info.version
    label = _feature(builder, "label")
    self._has_labels = isinstance(label, tfds.features.ClassLabel)
    self.num_classes = label.num_classes if self._has_labels else 0
    self.class_names = (
      tuple(map(label.int2str, range(self.num_classes))) if self.num_classes else ()
    )
    self.channels = _feature(builder, "image").shape[-1]
    self._dataset = self._open(builder)
    self._count = int(self._dataset.cardinality())
    if self._count <= 0:
      raise settings.InputError(
        "dataset", f"expected pictures in {name}, split {self._split}, found none"
      )

  def _open(self, builder):
    wanted = {"image": True, **({"label": True} if self._has_labels else {})}
    # Bytes, since what decodes a file of another source decodes these too: tf.io reads a JPEG with a faster
    # transform than Pillow, and other pixels come out.
    decoders = tfds.decode.PartialDecoding(wanted, decoders={"image": tfds.decode.SkipDecoding()})
    try:
      # File by file: otherwise the order depends on how many files are read at a time.
      return builder.as_dataset(
        split=self._split, decoders=decoders, read_config=tfds.ReadConfig(interleave_cycle_length=1)
      )
    except AssertionError:
      folder = builder.data_path.parent.parent
      raise settings.InputError(
        "dataset",
        f"{self.name} is not prepared in {folder} (--data_dir); with a network, run once: "
        f"tfds build {self.name} --data_dir={folder}",
      ) from None
    except (KeyError, ValueError) as error:
      raise settings.InputError(
        "dataset", f"{self.name} has no split {self._split!r} ({error})"
      ) from None

  def __len__(self):
    return self._count

  def pictures(self, start, stop):
    examples = self._dataset.skip(start).take(stop - start)
    for position, example in enumerate(examples.as_numpy_iterator(), start):
      label = int(example["label"]) if self._has_labels else 0
      yield listing.Picture(f"{self._split}[{position}]", example["image"], label)

  def identities(self):
    yield from (self.name, str(self._version), self._split, str(self._count))


def _tfds_split(split, prepared):
  return "validation" if split == "test" and "validation" in prepared else split


def _or_image_size(image):
  return " (or of any, with --image_size)" if isinstance(image, tfds.features.Image) else ""


def _builder(config):
  if config.dataset == "digits":
    builder = digits.Digits(data_dir=config.data_dir)
    quiet = io.StringIO()  # A second's work needs no progress bar.
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
      try:
        builder.download_and_prepare(
          download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )
      except OSError as error:
        raise settings.InputError(
          "data_dir",
          f"expected a folder in which the digits can be unpacked, received "
          f"{builder.data_path.parent.parent} ({error})",
        ) from None
    return builder
  try:
    return tfds.builder(config.dataset, data_dir=config.data_dir, try_gcs=False)
  except (tfds.core.DatasetNotFoundError, ImportError, ValueError) as error:
    raise settings.InputError(
      "dataset",
      f"expected digits or the name of a TFDS data set, received "
      f"{config.dataset!r} ({str(error).splitlines()[0]})",
    ) from None


def _feature(builder, name):
  features = builder.info.features
  return (
    features[name]
    if isinstance(features, tfds.features.FeaturesDict) and name in features
    else None
  )
