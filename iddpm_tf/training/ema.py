"""Exponential moving averages of the weights, at several rates at once."""

from collections.abc import Sequence

import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.training import flat


class MovingAverages:
  """average = rate * average + (1 - rate) * weight, beginning at the initial weights.

  Attributes:
    rates: the rates.
    averages: for each rate, the averages.
  """

  def __init__(self, weights: flat.FlatVariable, rates: Sequence[float]):
    """Makes the averages; inside `strategy.scope()` if there is a strategy."""
    self.rates = tuple(rates)
    self._weights = weights
    self.averages = [flat.FlatVariable(weights.layout) for _ in self.rates]
    for rate in self.rates:
      self.begin(rate)

  def update(self) -> None:
    """Takes one step after the weights have changed; in replica context under a strategy."""
    weights = self._weights.variable.read_value()
    for rate, average in zip(self.rates, self.averages):
      # TensorFlow's only kernel that adds a multiple to a variable, in place and in all threads.
      tf.raw_ops.ResourceApplyGradientDescent(
        var=average.handle,
        alpha=tf.constant(1.0 - rate),
        delta=average.variable.read_value() - weights,
      )

  def begin(self, rate: float) -> None:
    """Sets the averages of one rate to the weights, as at the start of a training."""
    self.at_rate(rate).assign(self._weights)

  def at_rate(self, rate: float) -> flat.FlatVariable:
    """Returns the averages of one rate.

    Raises:
      InputError: there is no such rate.
    """
    if rate not in self.rates:
      message = f"expected one of {', '.join(map(str, self.rates))}, received {rate}"
      raise settings.InputError("ema", message)
    return self.averages[self.rates.index(rate)]
