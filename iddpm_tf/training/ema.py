"""Exponential moving averages of the weights, at several rates at once."""

import tensorflow as tf

from iddpm_tf import settings


class MovingAverages(tf.Module):
  """average = rate * average + (1 - rate) * weight, from the initial weights on."""

  def __init__(self, variables, rates):
    """Of Keras or TensorFlow `variables`; inside `strategy.scope()` if there is a strategy."""
    super().__init__(name="moving_averages")
    self.rates = tuple(rates)
    self._sources = list(variables)
    # One list a rate. Replicas hold the same numbers, so the first one's are saved.
    self.averages = [
      [
        tf.Variable(
          source.value, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        for source in self._sources
      ]
      for _ in self.rates
    ]

  def update(self):
    """One step, after the weights have changed; in replica context under a strategy."""
    for rate, averages in zip(self.rates, self.averages):
      for average, source in zip(averages, self._sources):
        average.assign_add((1.0 - rate) * (source.value - average))

  def at_rate(self, rate):
    """The averages of one rate, in the order of the variables."""
    if rate not in self.rates:
      raise settings.InputError(
        "ema", f"expected one of {', '.join(map(str, self.rates))}, received {rate}"
      )
    return self.averages[self.rates.index(rate)]
