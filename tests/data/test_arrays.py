"""Checks of images and labels that a caller has as arrays, and their errors."""

import re

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.data import arrays
from iddpm_tf.data.records import reading

IMAGES = np.zeros([16, 8, 8, 1], np.uint8)


def test_what_can_be_indexed_like_an_array_is_returned_as_it_is():
  records = reading.RecordImages([IMAGES[:10], IMAGES[10:]], (8, 8, 1))
  for images in (IMAGES, records):
    assert arrays.require_images(images, (8, 8, 1)) is images
    assert arrays.require_images(images) is images


def test_lists_and_tensors_are_converted():
  for images in (list(IMAGES), tf.constant(IMAGES)):
    converted = arrays.require_images(images, (8, 8, 1))
    assert isinstance(converted, np.ndarray) and converted.shape == IMAGES.shape


@pytest.mark.parametrize(
  "images, shape, message",
  [
    (
      IMAGES / np.float32(255),
      (8, 8, 1),
      "expected uint8 [N, 8, 8, 1], received float32 [16, 8, 8, 1]; values in [0, 1] become uint8 "
      "by np.uint8(np.round(images * 255))",
    ),
    (IMAGES.astype(int), (8, 8, 1), "expected uint8 [N, 8, 8, 1], received int64 [16, 8, 8, 1]"),
    (IMAGES, (32, 32, 3), "expected uint8 [N, 32, 32, 3], received uint8 [16, 8, 8, 1]"),
    (
      IMAGES[..., 0],
      (8, 8, 1),
      "expected uint8 [N, 8, 8, 1], received uint8 [16, 8, 8]; images[..., None] are grey images "
      "[N, H, W], and images[None] is a single image",
    ),
    (
      np.zeros([2, 3, 8, 8], np.uint8),
      arrays.ANY_SHAPE,
      "expected uint8 [N, H, W, C], received uint8 [2, 3, 8, 8]: images have 1, 3 or 4 channels; "
      "channels come last",
    ),
    (
      np.zeros([2, 3, 8, 8], np.uint8),
      (8, 8, 3),
      "expected uint8 [N, 8, 8, 3], received uint8 [2, 3, 8, 8]; channels come last",
    ),
    (
      IMAGES[:0],
      (8, 8, 1),
      "expected uint8 [N, 8, 8, 1], received uint8 [0, 8, 8, 1]: no size can be 0",
    ),
    (
      [IMAGES[0], IMAGES[0, 1:]],
      (8, 8, 1),
      "expected uint8 [N, 8, 8, 1], received a list that is not an array of images of one size",
    ),
  ],
)
def test_other_images_are_refused(images, shape, message):
  with pytest.raises(settings.InputError, match=f"^images: {re.escape(message)}$"):
    arrays.require_images(images, shape)


def test_labels_are_int32_and_none_without_classes():
  labels = arrays.require_labels([0, 9, 3], 3, 10)
  assert labels.dtype == np.int32 and labels.tolist() == [0, 9, 3]
  assert arrays.require_labels(None, 3, 0) is None
  assert arrays.require_labels(np.array([77], np.uint8), 1, None).tolist() == [77]


@pytest.mark.parametrize(
  "labels, num_classes, message",
  [
    (None, 10, "expected integers from 0 to 9, one per image [3], received none"),
    ([1, 2], 10, "expected integers from 0 to 9, one per image [3], received int64 [2]"),
    (3, 10, "expected integers from 0 to 9, one per image [3], received int64 []"),
    ([0.5, 1, 2], 10, "expected integers from 0 to 9, one per image [3], received float64 [3]"),
    (["a", "b", "c"], 10, "expected integers from 0 to 9, one per image [3], received <U1 [3]"),
    (
      [[1], [2, 3], []],
      10,
      "expected integers from 0 to 9, one per image [3], received a list of other values",
    ),
    ([0, 10, 2], 10, "expected classes from 0 to 9, received 10"),
    ([0, -1, 2], 10, "expected classes from 0 to 9, received -1"),
    ([0, -1, 2], None, "expected classes from 0 to 2147483646, received -1"),
    ([0, 1, 2], 0, "expected none, because the model has no classes, received int64 [3]"),
  ],
)
def test_other_labels_are_refused(labels, num_classes, message):
  with pytest.raises(settings.InputError, match=f"^labels: {re.escape(message)}$"):
    arrays.require_labels(labels, 3, num_classes)


def test_errors_name_the_argument():
  with pytest.raises(settings.InputError, match=r"^samples: "):
    arrays.require_images(None, name="samples")
  with pytest.raises(settings.InputError, match=r"^classes: "):
    arrays.require_labels(None, 1, 2, name="classes")
