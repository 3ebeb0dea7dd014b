"""Claims of the paper: an estimate, its confidence interval over seeds, a verdict."""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"
_LEAST_SEEDS = 3
_CONFIDENCE = 0.95


class Part(NamedTuple):
  """One quantity that is positive if the claim holds."""

  statement: str
  estimate: float | None  # None where there is none.
  low: float | None  # The confidence interval; None of fewer than three seeds.
  high: float | None
  verdict: str
  how: str  # It was computed.
  values: tuple[float, ...]  # One a seed.
  is_exact: bool = False  # No seed moves it.


class Claim(NamedTuple):
  """A claim of the paper; it holds if every part of it does."""

  number: int
  statement: str
  parts: tuple[Part, ...]

  @property
  def verdict(self):
    verdicts = [part.verdict for part in self.parts]
    if FAILS in verdicts:
      return FAILS
    return UNDECIDED if UNDECIDED in verdicts else HOLDS


def over_seeds(statement, values, how, resolution=0.0):
  """The `Part` of a quantity's values, one a seed: its mean, and Student's t.

  Of a difference between two models the values are those of each seed's pair, so that what a seed does to both
  cancels. Verdict: `holds` if the whole interval is above 0, `fails` if it is below, otherwise `undecided`. Where values
  come in steps of `resolution` the interval reaches as far to either side, however well seeds agree.

  Raises:
    ValueError: no values, or one that is not finite.
  """
  values = np.asarray(values, np.float64)
  if not values.size or not np.all(np.isfinite(values)):
    raise ValueError(f"{statement}: expected finite values, received {values.tolist()}")
  mean = float(np.mean(values))
  if len(values) < _LEAST_SEEDS:
    return Part(statement, mean, None, None, UNDECIDED, how, tuple(values.tolist()))
  half = resolution + stats.t.ppf((1 + _CONFIDENCE) / 2, len(values) - 1) * np.std(
    values, ddof=1
  ) / math.sqrt(len(values))
  low, high = mean - half, mean + half
  verdict = HOLDS if low > 0 else FAILS if high < 0 else UNDECIDED
  return Part(statement, mean, float(low), float(high), verdict, how, tuple(values.tolist()))


def paired(statement, larger, smaller, how, resolution=0.0):
  """The `Part` of `larger` - `smaller`, one of each a seed."""
  return over_seeds(statement, np.subtract(larger, smaller), how, resolution)


def exact(statement, value, how):
  """The `Part` of a quantity that no seed moves: a fact of the schedules, its interval a point."""
  verdict = HOLDS if value > 0 else FAILS if value < 0 else UNDECIDED
  return Part(
    statement, float(value), float(value), float(value), verdict, how, (float(value),), True
  )


def unknown(statement, how):
  """The `Part` of a quantity that could not be estimated; `how` says why."""
  return Part(statement, None, None, None, UNDECIDED, how, ())
