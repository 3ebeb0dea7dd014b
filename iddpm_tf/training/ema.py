"""Exponential moving averages of the weights, at several rates at once."""

from collections.abc import Iterable
from collections.abc import Sequence

import keras
import tensorflow as tf

from iddpm_tf import settings


class MovingAverages(tf.Module):
  """average = rate * average + (1 - rate) * weight, beginning at the initial weights.

  Attributes:
    rates: the rates.
    averages: for each rate, the averages in the order of the variables.
  """

  def __init__(self, variables: Iterable[keras.Variable], rates: Sequence[float]):
    """Makes the averages; inside `strategy.scope()` if there is a strategy."""
    super().__init__(name="moving_averages")
    self.rates = tuple(rates)
    self._sources = list(variables)
    # Replicas hold the same numbers, so those of the first are saved.
    self.averages = [
      [
        tf.Variable(
          source.value,
          trainable=False,
          aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        for source in self._sources
      ]
      for _ in self.rates
    ]

  def update(self) -> None:
    """Takes one step after the weights have changed; in replica context under a strategy."""
    for rate, averages in zip(self.rates, self.averages):
      for average, source in zip(averages, self._sources):
        average.assign_add((1.0 - rate) * (source.value - average))

  def begin(self, rate: float) -> None:
    """Sets the averages of one rate to the weights, as at the start of a training."""
    for average, source in zip(self.at_rate(rate), self._sources, strict=True):
      average.assign(source.value)

  def at_rate(self, rate: float) -> list[tf.Variable]:
    """Returns the averages of one rate, in the order of the variables.

    Raises:
      InputError: there is no such rate.
    """
    if rate not in self.rates:
      message = f"expected one of {', '.join(map(str, self.rates))}, received {rate}"
      raise settings.InputError("ema", message)
    return self.averages[self.rates.index(rate)]
