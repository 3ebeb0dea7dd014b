"""Where images come from: the embedded digits, and TFDS by name."""

import contextlib
import io
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from iddpm_tf.data import digits


class Source(NamedTuple):
  """A split of a data set, in memory."""
  name: str
  images: np.ndarray  # uint8 [N, H, W, C].
  labels: np.ndarray  # int32 [N]; 0 where the data has none.
  num_classes: int  # 0: no labels.


def load(config, split):
  """The split `train` or `test` of a `DataConfig`'s data set; never downloads.

  Raises:
    ValueError: no such data set or split, none prepared, or one without images of one size.
  """
  builder = _builder(config)
  image = _feature(builder, "image")
  if not isinstance(image, tfds.features.Image) or None in image.shape:
    raise ValueError(f"--dataset: expected a data set with an 'image' of one size, received "
                     f"{config.dataset!r}, with {builder.info.features!r}".replace("\n", " "))
  try:
    # Not batch_size=-1, which TFDS turns into a batch too large to reserve where it knows no size.
    batches = list(tfds.as_numpy(builder.as_dataset(split=split).batch(1024)))
  except AssertionError:
    raise ValueError(
        f"--dataset: {config.dataset} is not prepared in {builder.data_path.parent.parent} "
        f"(--data_dir); with a network, run once: "
        f"tfds build {config.dataset} --data_dir={builder.data_path.parent.parent}") from None
  except (KeyError, ValueError) as error:
    raise ValueError(f"--dataset: {config.dataset} has no split {split!r} ({error})") from None
  images = np.concatenate([batch["image"] for batch in batches])
  num_classes = _num_classes(builder)
  labels = (np.concatenate([batch["label"] for batch in batches]) if num_classes
            else np.zeros(len(images)))
  return _checked(Source(config.dataset, images, labels.astype(np.int32), num_classes))


def _builder(config):
  if config.dataset == "digits":
    builder = digits.Digits(data_dir=config.data_dir)
    quiet = io.StringIO()  # A second's work needs no progress bar.
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
      try:
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False))
      except OSError as error:
        raise ValueError(f"--data_dir: expected a folder in which the digits can be unpacked, received "
                         f"{builder.data_path.parent.parent} ({error})") from None
    return builder
  try:
    return tfds.builder(config.dataset, data_dir=config.data_dir, try_gcs=False)
  except (tfds.core.DatasetNotFoundError, ImportError, ValueError) as error:
    raise ValueError(f"--dataset: expected digits or the name of a TFDS data set, received "
                     f"{config.dataset!r} ({str(error).splitlines()[0]})") from None


def _feature(builder, name):
  features = builder.info.features
  return features[name] if isinstance(features, tfds.features.FeaturesDict) and name in features else None


def _num_classes(builder):
  label = _feature(builder, "label")
  return label.num_classes if isinstance(label, tfds.features.ClassLabel) else 0


def _checked(source):
  if source.images.dtype != np.uint8:
    raise ValueError(f"--dataset: expected images of uint8, received {source.images.dtype} ({source.name})")
  labels, classes = source.labels, max(source.num_classes, 1)
  wrong = labels[(labels < 0) | (labels >= classes)]
  if wrong.size:
    raise ValueError(f"--dataset: expected labels of {source.name} in [0, {classes}), received {wrong[0]}")
  return source
