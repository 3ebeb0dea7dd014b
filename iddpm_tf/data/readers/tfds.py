"""TFDS data sets by name, and the embedded digits, as listings of encoded pictures."""

from collections.abc import Iterator
import contextlib
import io
import itertools
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import arrays
from iddpm_tf.data.readers import digits
from iddpm_tf.data.readers import listing
from iddpm_tf.data.readers import tfds_preparation

_BATCH = 32  # The number of encoded pictures that are read at a time.


def splits(config: config_lib.DataConfig) -> tuple[str, ...]:
  """Returns the splits of a data set, which is first prepared if necessary.

  Raises:
    InputError: as `open_listing`.
  """
  builder = _builder(config)
  if not builder.is_prepared():
    tfds_preparation.prepare(builder, config.dataset, download=config.download)
    builder = _builder(config)  # A builder knows the splits that there were when it was made.
  available = builder.info.splits
  return tuple(split for split in ("train", "test") if _tfds_split(split, available) in available)


def open_listing(config: config_lib.DataConfig, split: str) -> listing.Listing:
  """Returns the listing of a split; `test` is TFDS's `validation` where there is one.

  A data set that is not prepared is downloaded and prepared first, if `config.download` is true.

  Raises:
    InputError: there is no such data set or split, it has no images that can be used, or it is not
      prepared and cannot be.
  """
  builder = _builder(config)
  try:
    return _Tfds(config.dataset, builder, split)
  # TFDS raises it for a data set that is not prepared. `is_prepared` is not asked first, because
  # `tfds.testing.mock_data` leaves it unchanged.
  except AssertionError:
    tfds_preparation.prepare(builder, config.dataset, download=config.download)
  return _Tfds(config.dataset, _builder(config), split)


class _Tfds(listing.Listing):
  """A listing of a split in the order of its files."""

  def __init__(self, name: str, builder: tfds.core.DatasetBuilder, split: str):
    self.name = name
    self._split = _tfds_split(split, builder.info.splits)
    self._version = builder.info.version
    label = _feature(builder, "label")
    self._has_labels = isinstance(label, tfds.features.ClassLabel)
    if self._has_labels:
      self.num_classes = label.num_classes
      self.class_names = tuple(map(label.int2str, range(self.num_classes)))
    self.channels = _feature(builder, "image").shape[-1]
    self._dataset = self._open(builder)
    self._count = int(self._dataset.cardinality())
    if self._count <= 0:
      raise settings.InputError(
        "dataset", f"expected pictures in the split {self._split!r} of {name}, found none"
      )

  def _open(self, builder: tfds.core.DatasetBuilder) -> tf.data.Dataset:
    features = {"image": True, **({"label": True} if self._has_labels else {})}
    # Pictures stay encoded, because the code that decodes other data decodes these, too. tf.io
    # reads a JPEG with a faster transform than Pillow, which results in other pixels.
    decoders = tfds.decode.PartialDecoding(features, decoders={"image": tfds.decode.SkipDecoding()})
    try:
      # File by file: otherwise, the order depends on how many files are read at a time.
      return builder.as_dataset(
        split=self._split, decoders=decoders, read_config=tfds.ReadConfig(interleave_cycle_length=1)
      )
    except (KeyError, ValueError) as error:
      raise settings.InputError(
        "dataset", f"expected a split of {self.name}, received {self._split!r} ({error})"
      ) from None

  def __len__(self) -> int:
    return self._count

  def pictures(self, start: int, stop: int) -> Iterator[listing.Picture]:
    positions = itertools.count(start)
    # In batches, since a call of the iterator takes longer than decoding a small picture.
    batches = self._dataset.skip(start).take(stop - start).batch(_BATCH)
    for batch in batches.as_numpy_iterator():
      labels = batch["label"].tolist() if self._has_labels else itertools.repeat(0)
      for position, content, label in zip(positions, batch["image"], labels):
        yield listing.Picture(f"{self._split}[{position}]", content, label)

  def identities(self) -> Iterator[str]:
    yield from (self.name, str(self._version), self._split, str(self._count))


def _tfds_split(split: str, available: tfds.core.splits.SplitDict) -> str:
  """Returns TFDS's name of a split.

  ImageNet's own test split has no labels, like that of several other data sets.
  """
  return "validation" if split == "test" and "validation" in available else split


def _builder(config: config_lib.DataConfig) -> tfds.core.DatasetBuilder:
  """Returns the builder of a data set whose images can be used."""
  if config.dataset == "digits":
    return _digits(config.data_dir)
  try:
    builder = tfds.builder(config.dataset, data_dir=config.data_dir, try_gcs=False)
  except (tfds.core.DatasetNotFoundError, ImportError, ValueError) as error:
    raise settings.InputError(
      "dataset",
      f"expected digits or the name of a TFDS data set, received "
      f"{config.dataset!r} ({str(error).splitlines()[0]})",
    ) from None
  _require_images(builder, config)
  return builder


def _digits(data_dir: str | None) -> tfds.core.DatasetBuilder:
  """Returns the prepared digits."""
  builder = digits.Digits(data_dir=data_dir)
  output = io.StringIO()  # A second's work needs no progress bar.
  with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
    try:
      builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False)
      )
    except OSError as error:
      raise settings.InputError(
        "data_dir",
        f"expected a folder in which the digits can be unpacked, received "
        f"{builder.data_dir_root} ({error})",
      ) from None
  return builder


def _require_images(builder: tfds.core.DatasetBuilder, config: config_lib.DataConfig) -> None:
  """Raises an error unless a data set has images of uint8 that can be brought to one size."""
  image = _feature(builder, "image")
  is_image = isinstance(image, tfds.features.Image)
  if not is_image or (None in image.shape and not config.image_size):
    hint = "; image_size brings images of several sizes to one" if is_image else ""
    message = (
      f"expected a data set with an 'image' of one size, received {config.dataset!r}, with "
      f"{builder.info.features!r}{hint}"
    )
    raise settings.InputError("dataset", " ".join(message.split()))
  if image.np_dtype != np.uint8 or image.shape[-1] not in arrays.CHANNELS:
    raise settings.InputError(
      "dataset",
      f"expected images of uint8 with 1, 3 or 4 channels, received {image.np_dtype} "
      f"{list(image.shape)} ({config.dataset})",
    )


def _feature(builder: tfds.core.DatasetBuilder, name: str) -> Any:
  """Returns a feature of a data set, or None if there is none of this name."""
  features = builder.info.features
  if isinstance(features, tfds.features.FeaturesDict) and name in features:
    return features[name]
  return None
