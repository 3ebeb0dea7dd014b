"""The digits, TFDS by name, and what a user reads when there is no data."""

import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from sklearn import datasets
import tensorflow_datasets as tfds

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


@pytest.fixture(scope="module", name="digits_dir")
def prepared_digits(tmp_path_factory):
  folder = tmp_path_factory.mktemp("digits")
  sources.load(DataConfig(data_dir=str(folder)), "test")
  return str(folder)


def refused(dataset, folder, split="train"):
  """The one line that a user reads."""
  with pytest.raises(ValueError) as caught:
    sources.load(DataConfig(dataset=dataset, data_dir=str(folder)), split)
  message = str(caught.value)
  assert message.startswith("--dataset: ") and dataset in message and "\n" not in message
  return message


def test_digits_are_those_of_scikit_learn_in_the_documented_order(digits_dir):
  train, test = (
    sources.load(DataConfig(data_dir=digits_dir), split) for split in ("train", "test")
  )
  assert train.images.shape == (1437, 8, 8, 1) and test.images.shape == (360, 8, 8, 1)
  for source in (train, test):
    assert source.images.dtype == np.uint8 and source.labels.dtype == np.int32
    assert source.name == "digits" and source.num_classes == 10
  digits = datasets.load_digits()
  order = np.random.RandomState(0).permutation(1797)
  images = np.concatenate([train.images, test.images])[..., 0]
  np.testing.assert_array_equal(images, np.round(digits.images[order] * 255 / 16))
  np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), digits.target[order])


def test_digits_have_17_grey_levels_from_black_to_white(digits_dir):
  levels = np.unique(sources.load(DataConfig(data_dir=digits_dir), "train").images)
  assert len(levels) == 17 and levels[0] == 0 and levels[-1] == 255


def test_digits_are_prepared_silently_and_once(tmp_path, capfd):
  config = DataConfig(data_dir=str(tmp_path))
  first = sources.load(config, "test")
  assert not capfd.readouterr().out
  files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
  again = sources.load(config, "test")
  assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
  np.testing.assert_array_equal(first.images, again.images)


def test_an_unknown_data_set_is_refused(tmp_path):
  assert "expected digits or the name of a TFDS data set" in refused("no_such_data", tmp_path)


def test_an_unprepared_data_set_is_told_how_to_be_prepared_at_once(tmp_path):
  start = time.monotonic()
  message = refused("cifar10", tmp_path)
  assert time.monotonic() - start < 20
  assert "not prepared" in message and f"tfds build cifar10 --data_dir={tmp_path}" in message
  assert not any(tmp_path.iterdir())  # Nothing was downloaded.


def test_an_unknown_split_is_named(digits_dir):
  assert "no split 'validation'" in refused("digits", digits_dir, "validation")


@pytest.mark.parametrize("dataset", ["iris", "oxford_flowers102"])
def test_data_without_images_of_one_size_is_refused(tmp_path, dataset):
  assert "an 'image' of one size" in refused(dataset, tmp_path)


def test_a_prepared_data_set_without_labels_has_no_classes(tmp_path):
  TinyPictures(data_dir=str(tmp_path)).download_and_prepare()
  source = sources.load(DataConfig(dataset="tiny_pictures", data_dir=str(tmp_path)), "train")
  assert source.num_classes == 0 and source.labels.dtype == np.int32
  np.testing.assert_array_equal(source.labels, np.zeros(7))
  assert source.images.shape == (7, 4, 6, 3)
  np.testing.assert_array_equal(np.sort(source.images[:, 0, 0, 0]), np.arange(7))


def test_cifar10_loads_as_tfds_mocks_it(tmp_path):
  """In a process of its own: where this fails, TensorFlow aborts."""
  code = textwrap.dedent(f"""
      import tensorflow_datasets as tfds
      from iddpm_tf.config import DataConfig
      from iddpm_tf.data import sources
      with tfds.testing.mock_data(num_examples=7):
        source = sources.load(DataConfig(dataset="cifar10", data_dir={str(tmp_path)!r}), "train")
      print(source.images.shape, source.images.dtype, source.labels.dtype, source.num_classes)
      """)
  result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
  assert result.returncode == 0, result.stderr[-500:]
  assert result.stdout.splitlines()[-1] == "(7, 32, 32, 3) uint8 int32 10"
