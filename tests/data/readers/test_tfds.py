"""TFDS data sets by name, which are decoded like any other data."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from iddpm_tf import settings
from iddpm_tf.config import DataConfig
from iddpm_tf.data import sources


class TinyPictures(tfds.core.GeneratorBasedBuilder):
  """A user's own data set: seven pictures without labels."""

  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict({"image": tfds.features.Image(shape=(4, 6, 3))})
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {"train": self._generate_examples()}

  def _generate_examples(self):
    for i in range(7):
      yield i, {"image": np.full([4, 6, 3], i, np.uint8)}


def error_of(dataset, folder, split="train"):
  """Returns the message of the error that loading raises: one line that names no flag."""
  with pytest.raises(settings.InputError) as caught:
    sources.load(DataConfig(dataset=dataset, data_dir=str(folder)), split)
  message = str(caught.value)
  assert message.startswith("dataset: ") and dataset in message
  assert "\n" not in message and "--" not in message
  return message


def test_an_unknown_data_set_is_refused(tmp_path):
  assert "expected digits or the name of a TFDS data set" in error_of("no_such_data", tmp_path)


def test_an_unknown_split_is_named(digits_dir):
  message = error_of("digits", digits_dir, "validation")
  assert "expected a split of digits, received 'validation'" in message


@pytest.mark.parametrize("dataset", ["iris", "oxford_flowers102"])
def test_data_without_images_of_one_size_is_refused_before_it_is_downloaded(tmp_path, dataset):
  message = error_of(dataset, tmp_path)
  assert "an 'image' of one size" in message
  assert ("image_size brings" in message) == (dataset == "oxford_flowers102")
  assert not any(tmp_path.iterdir())


def test_a_data_set_without_labels_has_no_classes(tmp_path):
  config = DataConfig(dataset="tiny_pictures", data_dir=str(tmp_path))
  assert sources.splits(config) == ("train",)  # Prepares it.
  source = sources.load(config, "train")
  assert source.num_classes == 0 and source.class_names == ()
  assert source.labels.dtype == np.int32
  np.testing.assert_array_equal(source.labels, np.zeros(7))
  assert source.images.shape == (7, 4, 6, 3)
  np.testing.assert_array_equal(np.sort(source.images[:, 0, 0, 0]), np.arange(7))


def test_published_data_sets_load_as_tfds_mocks_them(tmp_path):
  sizes = {"cifar10": 0, "imagenet2012": 16, "oxford_flowers102": 16, "mnist": 16}
  described = []
  with tfds.testing.mock_data(num_examples=5):
    for name, size in sizes.items():
      config = DataConfig(dataset=name, data_dir=str(tmp_path), image_size=size)
      source = sources.load(config, "test")
      assert source.images.dtype == np.uint8 and source.labels.dtype == np.int32
      described.append((source.images.shape, source.num_classes))
  assert described == [
    ((5, 32, 32, 3), 10),
    ((5, 16, 16, 3), 1000),
    ((5, 16, 16, 3), 102),
    ((5, 16, 16, 1), 10),
  ]
