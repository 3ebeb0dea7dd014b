"""The handwritten digits that scikit-learn contains, as a TFDS data set that needs no download."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn import datasets
import tensorflow_datasets as tfds

_TRAIN_EXAMPLES = 1437


class Digits(tfds.core.GeneratorBasedBuilder):
  """1,797 images of 8x8 in 17 grey levels, 10 classes; 1,437 for training, 360 for test."""

  VERSION = tfds.core.Version("1.0.0")

  def _info(self) -> tfds.core.DatasetInfo:
    return self.dataset_info_from_configs(
      description=self.__doc__,
      features=tfds.features.FeaturesDict(
        {
          "image": tfds.features.Image(shape=(8, 8, 1)),
          "label": tfds.features.ClassLabel(num_classes=10),
        }
      ),
      supervised_keys=("image", "label"),
      homepage="https://archive.ics.uci.edu/dataset/80",
      # The order below is part of the data set, so that "the first 90 test images" are the same
      # images everywhere.
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
    del dl_manager
    digits = datasets.load_digits()
    order = np.random.RandomState(0).permutation(len(digits.images))
    images = np.round(digits.images[order] * 255 / 16).astype(np.uint8)[..., None]
    labels = digits.target[order]
    return {
      "train": self._generate_examples(images[:_TRAIN_EXAMPLES], labels[:_TRAIN_EXAMPLES]),
      "test": self._generate_examples(images[_TRAIN_EXAMPLES:], labels[_TRAIN_EXAMPLES:]),
    }

  def _generate_examples(
    self, images: np.ndarray, labels: np.ndarray
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    for i, (image, label) in enumerate(zip(images, labels)):
      yield i, {"image": image, "label": label}
