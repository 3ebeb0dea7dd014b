"""Exponential moving averages of the weights."""

import keras
import numpy as np
import pytest

from iddpm_tf import settings
from iddpm_tf.training import ema


def test_averages_follow_the_recursion_at_each_rate():
  variable = keras.Variable([1.0])
  averages = ema.MovingAverages([variable], (0.9, 0.5))
  expected = {0.9: 1.0, 0.5: 1.0}
  for value in (2.0, -1.0, 4.0):
    variable.assign([value])
    averages.update()
    expected = {rate: rate * old + (1 - rate) * value for rate, old in expected.items()}
    for rate, average in expected.items():
      np.testing.assert_allclose(averages.at_rate(rate)[0], [average], rtol=1e-6)


def test_a_rate_that_does_not_exist_is_refused():
  averages = ema.MovingAverages([keras.Variable([1.0])], (0.9, 0.5))
  with pytest.raises(settings.InputError, match=r"^ema: expected one of 0.9, 0.5, received 0.7$"):
    averages.at_rate(0.7)
