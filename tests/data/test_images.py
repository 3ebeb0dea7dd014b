"""Images in bytes, in the network's range, and in other resolutions."""

import numpy as np
import tensorflow as tf

from iddpm_tf.data.images import to_uint8
from iddpm_tf.data.images import to_unit_range


def test_every_level_survives_the_unit_range():
  levels = np.arange(256, dtype=np.uint8)
  unit = to_unit_range(levels)
  assert unit.dtype == tf.float32
  np.testing.assert_allclose(unit, levels / 127.5 - 1, atol=1e-7)
  assert unit[0] == -1 and unit[-1] == 1
  np.testing.assert_array_equal(to_uint8(unit), levels)


def test_to_uint8_rounds_to_the_nearest_level_without_bias():
  unit = tf.linspace(-1.0, 1.0, 100_001)
  errors = tf.cast(to_uint8(unit), tf.float32) - (unit + 1) * 127.5
  assert np.abs(errors).max() <= 0.5 + 1e-4
  assert abs(np.mean(errors)) < 1e-3


def test_to_uint8_can_take_the_lower_level_as_the_authors_do():
  unit = np.linspace(-1.2, 1.2, 100_001, dtype=np.float32)
  expected = ((unit + 1) * 127.5).clip(0, 255).astype(np.uint8)
  np.testing.assert_array_equal(to_uint8(unit, truncate=True), expected)


def test_to_uint8_clips_and_runs_in_a_graph_on_any_float():
  for dtype in (tf.float32, tf.bfloat16, tf.float64):
    result = tf.function(to_uint8)(tf.constant([[-np.inf, -1.5, -1, 0, 1, 3, np.inf]], dtype))
    np.testing.assert_array_equal(result, [[0, 0, 0, 128, 255, 255, 255]])
