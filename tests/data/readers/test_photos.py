"""Crops of two photographs, and that training sees none of the test crops."""

import numpy as np
import pytest
from sklearn import datasets

from iddpm_tf import settings
from iddpm_tf.data.readers import photos


@pytest.fixture(name="photographs", scope="module")
def fixture_photographs():
  return datasets.load_sample_images().images


@pytest.mark.parametrize(
  "split, size, count",
  [
    ("train", 32, 2 * 396 * 481),
    ("train", 427, 2 * 86),
    ("test", 32, 2 * 13 * 4),
    ("test", 16, 2 * 26 * 8),
    ("test", 128, 2 * 3),
  ],
)
def test_training_crops_stand_everywhere_and_test_crops_are_tiles(split, size, count):
  crops, labels = photos.load(size, split)
  assert crops.shape == (count, size, size, 3) and len(crops) == len(labels) == count
  assert np.array_equal(np.bincount(labels), [count // 2, count // 2]) and labels.dtype == np.int32


def test_crops_are_the_photographs_pixels(photographs):
  crops, labels = photos.load(7, "train")
  index = np.array([5, 0, len(crops) - 1])
  cut = crops[index]
  assert cut.shape == (3, 7, 7, 3) and cut.dtype == crops.dtype == np.uint8
  windows = [
    np.lib.stride_tricks.sliding_window_view(photo[:, :512], (7, 7), axis=(0, 1))
    for photo in photographs
  ]
  for image, label in zip(cut, labels[index]):
    assert np.any(np.all(windows[label] == image.transpose(2, 0, 1), axis=(2, 3, 4)))
  np.testing.assert_array_equal(crops[3:6], crops[np.arange(3, 6)])


def test_test_tiles_are_disjoint_and_right_of_all_training_crops(photographs):
  tiles, labels = photos.load(16, "test")
  rebuilt = tiles[:][labels == 0]
  right = photographs[0][:416, 512:640]
  assert len(rebuilt) * 16 * 16 == right.shape[0] * right.shape[1]
  # The tiles have as many pixels as the right fifth, and the same ones.
  sorted_pixels = [
    np.sort(pixels.reshape(-1, 3).astype(np.int64) @ [65536, 256, 1]) for pixels in (rebuilt, right)
  ]
  np.testing.assert_array_equal(*sorted_pixels)


def test_the_order_mixes_photographs_and_is_always_the_same():
  (crops, labels), (again, _) = photos.load(32, "test"), photos.load(32, "test")
  np.testing.assert_array_equal(crops[:10], again[:10])
  assert 20 < labels[:52].sum() < 32


def test_photos_have_256_real_levels():
  crops, _ = photos.load(32, "train")
  assert len(np.unique(crops[:500])) == 256


@pytest.mark.parametrize(
  "size, split, limit", [(0, "train", 427), (428, "train", 427), (129, "test", 128)]
)
def test_sizes_that_do_not_fit_are_refused(size, split, limit):
  with pytest.raises(
    settings.InputError, match=f"^image_size: expected 1 to {limit} .* received {size}$"
  ):
    photos.load(size, split)
