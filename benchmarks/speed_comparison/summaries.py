"""Medians, quartiles and ratios of measured times."""

from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np

Rounds = Sequence[Sequence[float]]  # The values of each round.


class Spread(NamedTuple):
  """The middle of some values."""

  median: float
  low: float  # The first quartile.
  high: float  # The third quartile.
  number: int  # Of values.


class Ratio(NamedTuple):
  """How many times as much one contestant takes as another.

  Attributes:
    over: the name of the contestant above the fraction line.
    under: the name of the one below.
    spread: the ratios of the rounds.
  """

  over: str
  under: str
  spread: Spread


def spread(values: Sequence[float]) -> Spread:
  """Returns the median and the quartiles of values."""
  low, median, high = np.percentile(np.asarray(values, np.float64), [25, 50, 75])
  return Spread(float(median), float(low), float(high), len(values))


def spread_of_rounds(rounds: Rounds) -> Spread:
  """Returns the median and the quartiles of the values of all rounds."""
  return spread([value for values in rounds for value in values])


def ratio_of_rounds(over: Rounds, under: Rounds) -> Spread:
  """Returns the ratio of the medians of each round.

  The two contestants of a round were measured one after the other. What slows the machine for
  longer than a round slows both.
  """
  pairs = zip(over, under, strict=True)
  return spread([float(np.median(first) / np.median(second)) for first, second in pairs])


def rounds_of(result: dict[str, Any], measure: str) -> Rounds | None:
  """Returns the values of a measure, or None if it was not measured.

  Args:
    result: the results of one contestant.
    measure: the name of a measure.
  """
  value = result.get(measure)
  if value is None:
    return None
  return value if isinstance(value, list) else [[value]]


def least(results: dict[str, dict[str, Any]], names: Sequence[str], measure: str) -> str | None:
  """Returns the name of the contestant with the least median, or None if none was measured.

  Args:
    results: the results of all contestants.
    names: the contestants to choose from.
    measure: the name of a measure.
  """
  medians = {
    name: spread_of_rounds(rounds).median
    for name in names
    if name in results and (rounds := rounds_of(results[name], measure))
  }
  return min(medians, key=medians.__getitem__, default=None)


def ratio_of_best(
  results: dict[str, dict[str, Any]], over: Sequence[str], under: Sequence[str], measure: str
) -> Ratio | None:
  """Returns the best of some contestants over the best of others, or None if one is missing."""
  best = [least(results, names, measure) for names in (over, under)]
  if best[0] is None or best[1] is None:
    return None
  first, second = (rounds_of(results[name], measure) for name in best if name)
  assert first and second
  return Ratio(best[0], best[1], ratio_of_rounds(first, second))
