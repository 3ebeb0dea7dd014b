"""Downsampled ImageNet in the format in which it is published, made small here."""

import numpy as np
import pytest

from iddpm_tf import settings as settings_lib
from iddpm_tf.config import DataConfig
from iddpm_tf.data import sources


def config(folder, **settings):
  return DataConfig(dataset="imagenet_npz", data_dir=str(folder), **settings)


def error_of(folder, split="train"):
  """Returns the message of the error that loading raises, which is one line."""
  with pytest.raises(settings_lib.InputError) as caught:
    sources.load(config(folder), split)
  assert "\n" not in str(caught.value)
  return str(caught.value)


def write_batch(path, images, labels):
  """Writes [N, S, S, 3] as the official files hold them."""
  np.savez(
    path,
    data=images.transpose(0, 3, 1, 2).reshape(len(images), -1),
    labels=list(labels),
    mean=np.zeros(images[0].size),
  )


@pytest.fixture(name="batches")
def fixture_batches(tmp_path):
  """Batches 2 and 10 of three images of 4x4 each, and two images for validation."""
  images = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), dtype=np.uint8)
  write_batch(tmp_path / "train_data_batch_10.npz", images[3:6], [1, 5, 2])
  write_batch(tmp_path / "train_data_batch_2.npz", images[:3], [3, 1, 1])
  write_batch(tmp_path / "val_data.npz", images[6:], [4, 1])
  return tmp_path, images


def test_batches_are_in_numeric_order(batches):
  folder, images = batches
  source = sources.load(config(folder), "train")
  np.testing.assert_array_equal(source.images, images[:6])
  np.testing.assert_array_equal(source.labels, [2, 0, 0, 0, 4, 1])
  assert source.num_classes == 5 and source.labels.dtype == np.int32
  resized = sources.load(config(folder, image_size=4), "train")
  np.testing.assert_array_equal(resized.images, images[:6])


def test_the_validation_file_is_the_test_split_and_has_the_classes_of_training(batches):
  folder, images = batches
  source = sources.load(config(folder), "test")
  np.testing.assert_array_equal(source.images, images[6:])
  assert source.labels.tolist() == [3, 0] and source.num_classes == 5


def test_reading_begins_anywhere_and_crosses_the_border_of_batches(batches):
  folder, images = batches
  listing = sources.open_listing(config(folder), "train")
  pictures = list(listing.pictures(2, 5))
  np.testing.assert_array_equal([picture.content for picture in pictures], images[2:5])
  assert [picture.name for picture in pictures] == [
    "train_data_batch_2.npz[2]",
    "train_data_batch_10.npz[0]",
    "train_data_batch_10.npz[1]",
  ]


def test_images_are_resized(batches):
  folder, images = batches
  means = images[:6].reshape(6, 2, 2, 2, 2, 3).mean(axis=(2, 4))
  source = sources.load(config(folder, image_size=2, resize="area"), "train")
  np.testing.assert_array_equal(source.images, np.floor(means + 0.5))


def test_folders_without_batches_and_broken_batches_are_refused(tmp_path):
  assert "train_data_batch_1.npz" in error_of(tmp_path)
  path = tmp_path / "train_data_batch_1.npz"
  images = np.zeros([2, 4, 4, 3], np.uint8)
  write_batch(path, images, [1, 2])
  assert "val_data.npz" in error_of(tmp_path, "test")
  write_batch(tmp_path / "val_data.npz", images, [1, 3])
  assert "labels of 1 to 2" in error_of(tmp_path, "test")
  for content in (b"", b"hello", path.read_bytes()[:200]):
    path.write_bytes(content)
    assert str(path) in error_of(tmp_path)
  for arrays in (
    {"data": images},
    {"labels": [1]},
    {"data": images, "labels": [1, 2]},
    {"data": np.zeros([2, 48], np.float32), "labels": [1, 2]},
    {"data": np.zeros([2, 48], np.uint8), "labels": [1]},
    {"data": np.zeros([2, 47], np.uint8), "labels": [1, 2]},
    {"data": np.zeros([2, 48], np.uint8), "labels": [0, 1]},
  ):
    np.savez(path, **arrays)
    assert str(path) in error_of(tmp_path)


def test_compressed_batches_are_read_or_refused_in_one_line(tmp_path):
  path, images = tmp_path / "train_data_batch_1.npz", np.zeros([20, 8, 8, 3], np.uint8)
  images[:] = np.random.default_rng(0).integers(0, 256, images.shape)
  np.savez_compressed(
    path, data=images.transpose(0, 3, 1, 2).reshape(20, -1), labels=np.arange(20) + 1
  )
  whole, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
  np.testing.assert_array_equal(sources.load(config(tmp_path), "train").images, images)
  # The compression of the first member, in both of its headers.
  foreign = bytearray(whole)
  foreign[8] = foreign[whole.index(b"PK\x01\x02") + 10] = 77
  broken = [bytes(foreign), whole[:-30], *(bytearray(whole) for _ in range(200))]
  for content in broken[2:]:
    for position in rng.integers(0, len(content), 3):
      content[position] = rng.integers(256)
  for content in broken:
    path.write_bytes(content)
    try:
      sources.load(config(tmp_path), "train")
    except settings_lib.InputError as error:
      assert str(error).startswith(f"{path}: expected") and "\n" not in str(error)
      refused += 1
  assert refused > 150
