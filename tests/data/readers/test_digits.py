"""The embedded digits."""

import numpy as np
from sklearn import datasets

from iddpm_tf.config import DataConfig
from iddpm_tf.data import sources


def test_digits_are_those_of_scikit_learn_in_the_documented_order(digits_dir):
  train, test = (
    sources.load(DataConfig(data_dir=digits_dir), split) for split in ("train", "test")
  )
  assert train.images.shape == (1437, 8, 8, 1) and test.images.shape == (360, 8, 8, 1)
  for source in (train, test):
    assert source.images.dtype == np.uint8 and source.labels.dtype == np.int32
    assert source.name == "digits" and source.num_classes == 10
    assert source.class_names == tuple("0123456789")
  digits = datasets.load_digits()
  order = np.random.RandomState(0).permutation(1797)
  images = np.concatenate([train.images, test.images])[..., 0]
  np.testing.assert_array_equal(images, np.round(digits.images[order] * 255 / 16))
  np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), digits.target[order])


def test_digits_have_17_grey_levels_from_black_to_white(digits_dir):
  levels = np.unique(sources.load(DataConfig(data_dir=digits_dir), "train").images)
  assert len(levels) == 17 and levels[0] == 0 and levels[-1] == 255


def test_digits_are_prepared_silently_and_once(tmp_path, capfd):
  config = DataConfig(data_dir=str(tmp_path), download=False)
  first = sources.load(config, "test")
  assert not capfd.readouterr().out
  files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
  again = sources.load(config, "test")
  assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
  np.testing.assert_array_equal(first.images, again.images)


def test_digits_are_halved_by_averaging(digits_dir):
  whole = sources.load(DataConfig(data_dir=digits_dir), "test")
  half = sources.load(DataConfig(data_dir=digits_dir, image_size=4, resize="area"), "test")
  means = whole.images.reshape(-1, 4, 2, 4, 2, 1).mean(axis=(2, 4))
  np.testing.assert_array_equal(half.images, np.floor(means + 0.5))
  np.testing.assert_array_equal(half.labels, whole.labels)


def test_the_listing_of_digits_begins_anywhere(digits_dir):
  config = DataConfig(data_dir=digits_dir)
  assert sources.splits(config) == ("train", "test")
  listing, whole = sources.open_listing(config, "test"), sources.load(config, "test")
  pictures = list(listing.pictures(300, 303))
  assert [picture.name for picture in pictures] == ["test[300]", "test[301]", "test[302]"]
  assert [picture.label for picture in pictures] == whole.labels[300:303].tolist()
  assert listing.channels == 1 and len(listing) == 360
