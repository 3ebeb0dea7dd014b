"""Exponential moving averages of the weights."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.training import ema
from iddpm_tf.training import flat


def make_weights():
  return flat.FlatVariable(flat.Layout([(1,)], ["float32"]), [tf.constant([1.0])])


def test_averages_follow_the_recursion_at_each_rate():
  weights = make_weights()
  averages = ema.MovingAverages(weights, (0.9, 0.5))
  expected = {0.9: 1.0, 0.5: 1.0}
  for value in (2.0, -1.0, 4.0):
    weights.assign([[value]])
    averages.update()
    expected = {rate: rate * old + (1 - rate) * value for rate, old in expected.items()}
    for rate, average in expected.items():
      np.testing.assert_allclose(averages.at_rate(rate).read()[0], [average], rtol=1e-6)


def test_a_rate_that_does_not_exist_is_refused():
  averages = ema.MovingAverages(make_weights(), (0.9, 0.5))
  with pytest.raises(settings.InputError, match=r"^ema: expected one of 0.9, 0.5, received 0.7$"):
    averages.at_rate(0.7)
