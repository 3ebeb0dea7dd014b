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
    examples = tfds.as_numpy(builder.as_dataset(split=split, batch_size=-1))
  except AssertionError:
    raise ValueError(
        f"--dataset: {config.dataset} is not prepared in {builder.data_path.parent.parent} "
        f"(--data_dir); with a network, run once: "
        f"tfds build {config.dataset} --data_dir={builder.data_path.parent.parent}") from None
  except (KeyError, ValueError) as error:
    raise ValueError(f"--dataset: {config.dataset} has no split {split!r} ({error})") from None
  return _checked(config.dataset, examples, _num_classes(builder))


def _builder(config):
  if config.dataset == "digits":
    builder = digits.Digits(data_dir=config.data_dir)
    quiet = io.StringIO()  # A second's work needs no progress bar.
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
      builder.download_and_prepare(
          download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    return builder
  try:
    return tfds.builder(config.dataset, data_dir=config.data_dir, try_gcs=False)
  except (tfds.core.DatasetNotFoundError, ValueError) as error:
    raise ValueError(f"--dataset: expected digits or the name of a TFDS data set, received "
                     f"{config.dataset!r} ({str(error).splitlines()[0]})") from None


def _feature(builder, name):
  features = builder.info.features
  return features[name] if isinstance(features, tfds.features.FeaturesDict) and name in features else None


def _num_classes(builder):
  label = _feature(builder, "label")
  return label.num_classes if isinstance(label, tfds.features.ClassLabel) else 0


def _checked(name, examples, num_classes):
  images = examples["image"]
  labels = examples["label"] if num_classes else np.zeros(len(images))
  labels = labels.astype(np.int32)
  wrong = labels[(labels < 0) | (labels >= max(num_classes, 1))]
  if wrong.size:
    raise ValueError(f"--dataset: expected labels of {name} in [0, {num_classes}), received {wrong[0]}")
  return Source(name, images, labels, num_classes)
