"""Claims: confidence intervals and verdicts."""

import numpy as np
import pytest
from scipy import stats

from trainers.reproduction import claims


def test_the_interval_is_students_t_of_paired_differences():
  larger, smaller = np.array([3.9, 4.1, 4.3, 4.0]), np.array([3.7, 3.8, 4.2, 3.8])
  part = claims.paired("a", larger, smaller, "how")
  reference = stats.ttest_rel(larger, smaller).confidence_interval(0.95)
  assert part.estimate == pytest.approx(0.2)
  assert (part.low, part.high) == pytest.approx((reference.low, reference.high))
  # By hand: differences 0.2, 0.3, 0.1, 0.2; t of 3 degrees of freedom is 3.182.
  assert part.high - part.estimate == pytest.approx(3.182 * np.sqrt(0.02 / 3) / 2, rel=1e-3)
  assert part.values == pytest.approx((0.2, 0.3, 0.1, 0.2))


@pytest.mark.parametrize(
  "values, verdict",
  [
    ([1.0, 1.1, 0.9], "holds"),
    ([-1.0, -1.1, -0.9], "fails"),
    ([1.0, -1.1, 0.4], "undecided"),
    ([1.0, 1.0], "undecided"),
    ([1.0], "undecided"),
    ([0.0, 0.0, 0.0], "undecided"),
  ],
)
def test_verdicts(values, verdict):
  part = claims.over_seeds("a", values, "how")
  assert part.verdict == verdict
  assert (part.low is None) == (len(values) < 3)


def test_the_interval_covers_the_truth_as_often_as_it_says():
  draws = np.random.RandomState(0).normal(0.5, 1.0, [2000, 3])
  parts = [claims.over_seeds("a", values, "how") for values in draws]
  assert np.mean([part.low <= 0.5 <= part.high for part in parts]) == pytest.approx(0.95, abs=0.015)


def test_a_claim_holds_if_all_parts_do():
  def verdict(*values):
    return claims.Claim(1, "a", tuple(claims.exact("b", value, "how") for value in values)).verdict

  assert verdict(1, 2) == "holds" and verdict(1, 0) == "undecided" and verdict(1, 0, -1) == "fails"


@pytest.mark.parametrize("values", [[], [1.0, np.nan, 1.0], [np.inf]])
def test_values_that_are_not_finite_are_refused(values):
  with pytest.raises(ValueError, match="expected finite values"):
    claims.over_seeds("a", values, "how")


def test_an_exact_quantity_is_one():
  assert claims.exact("a", 1.0, "b").is_exact
  assert not claims.over_seeds("a", [1.0, 2.0, 3.0], "b").is_exact
