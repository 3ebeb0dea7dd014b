"""Grids of samples."""

import numpy as np
import pytest

from iddpm_tf.models import seeds as samples


@pytest.mark.parametrize(
  "labels, rows, columns",
  [
    (None, 3, 3),
    (np.arange(9), 3, 3),
    (np.full(9, 4), 3, 3),
    (np.arange(9) % 5, 5, 2),
    (np.array([7] * 8 + [2]), 2, 8),
  ],
)
def test_a_row_a_class_where_several_repeat_and_about_square_otherwise(labels, rows, columns):
  images = np.full([9, 32, 32, 1], 255, np.uint8)
  assert samples.grid(images, labels).shape == (2 + 34 * rows, 2 + 34 * columns, 1)
