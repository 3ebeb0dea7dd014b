"""Claims of the paper: an estimate, its confidence interval over the seeds, and a verdict."""

from collections.abc import Sequence
import math
from typing import NamedTuple

import numpy as np
from scipy import stats

HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"
MIN_SEEDS = 3
_CONFIDENCE = 0.95


class Part(NamedTuple):
  """One quantity of a claim, which is positive if the claim holds.

  Attributes:
    statement: the quantity, in words.
    estimate: the mean of the values, or None where there is no estimate.
    low: the lower end of the confidence interval, or None with fewer than three seeds.
    high: the upper end, or None.
    verdict: `HOLDS`, `FAILS` or `UNDECIDED`.
    how: how the quantity is computed.
    values: the quantity of each seed.
    is_exact: whether the quantity is the same for every seed.
  """

  statement: str
  estimate: float | None
  low: float | None
  high: float | None
  verdict: str
  how: str
  values: tuple[float, ...]
  is_exact: bool = False


class Claim(NamedTuple):
  """A claim of the paper. It holds if all of its parts hold.

  Attributes:
    number: the claim's number in the report.
    statement: the claim, in words.
    parts: the quantities by which it is judged.
  """

  number: int
  statement: str
  parts: tuple[Part, ...]

  @property
  def verdict(self) -> str:
    """`FAILS` if a part fails, otherwise `UNDECIDED` if a part is undecided, otherwise `HOLDS`."""
    verdicts = [part.verdict for part in self.parts]
    if FAILS in verdicts:
      return FAILS
    return UNDECIDED if UNDECIDED in verdicts else HOLDS


def over_seeds(statement: str, values: Sequence[float] | np.ndarray, how: str) -> Part:
  """Returns the mean of a quantity over the seeds, with Student's t confidence interval.

  The verdict is `HOLDS` if the whole interval is above 0, `FAILS` if it is below 0, and `UNDECIDED`
  otherwise.

  Args:
    statement: the quantity, in words.
    values: the quantity of each seed.
    how: how the quantity is computed.

  Raises:
    ValueError: there are no values, or a value is not finite.
  """
  values = np.asarray(values, np.float64)
  if not values.size or not np.all(np.isfinite(values)):
    raise ValueError(f"{statement}: expected finite values, received {values.tolist()}")
  mean = float(np.mean(values))
  if len(values) < MIN_SEEDS:
    return Part(statement, mean, None, None, UNDECIDED, how, tuple(values.tolist()))
  quantile = stats.t.ppf((1 + _CONFIDENCE) / 2, len(values) - 1)
  half = quantile * np.std(values, ddof=1) / math.sqrt(len(values))
  low, high = mean - half, mean + half
  verdict = HOLDS if low > 0 else FAILS if high < 0 else UNDECIDED
  return Part(statement, mean, float(low), float(high), verdict, how, tuple(values.tolist()))


def best_of_others(scores: np.ndarray) -> np.ndarray:
  """Returns each seed's score at the step that is best, on average, for the other seeds.

  A seed's own lowest score would be too low, because of noise.

  Args:
    scores: float `[seeds, steps]`; lower is better.

  Returns:
    float `[seeds]`.
  """
  seeds = range(len(scores))
  others = [np.delete(scores, i, axis=0) if len(scores) > 1 else scores for i in seeds]
  return scores[seeds, [int(np.argmin(each.mean(axis=0))) for each in others]]


def paired(
  statement: str,
  larger: Sequence[float] | np.ndarray,
  smaller: Sequence[float] | np.ndarray,
  how: str,
) -> Part:
  """Returns `over_seeds` of the differences `larger - smaller` of two models, one for each seed.

  What a seed adds to the values of both models cancels in their difference.
  """
  return over_seeds(statement, np.subtract(larger, smaller), how)


def exact(statement: str, value: float, how: str) -> Part:
  """Returns the part of a quantity that is the same for every seed. Its interval is a point."""
  verdict = HOLDS if value > 0 else FAILS if value < 0 else UNDECIDED
  value = float(value)
  return Part(statement, value, value, value, verdict, how, (value,), True)


def unknown(statement: str, how: str) -> Part:
  """Returns the undecided part of a quantity that cannot be estimated, for the reason in `how`."""
  return Part(statement, None, None, None, UNDECIDED, how, ())
