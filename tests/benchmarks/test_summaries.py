"""Medians, quartiles and ratios of measured times."""

import pytest

from benchmarks.speed_comparison import summaries


def test_the_spread_is_the_median_with_the_quartiles():
  assert summaries.spread([5.0, 1.0, 4.0, 2.0, 3.0]) == (3.0, 2.0, 4.0, 5)
  assert summaries.spread([7.0]) == (7.0, 7.0, 7.0, 1)
  assert summaries.spread_of_rounds([[1.0, 2.0], [3.0], [4.0, 5.0]]) == (3.0, 2.0, 4.0, 5)


def test_a_ratio_is_free_of_what_slows_a_whole_round():
  fast, slow = [[1.0, 1.1, 5.0], [3.0, 3.3, 3.1]], [[2.2, 2.2, 2.3], [6.2, 6.1, 9.0]]
  ratio = summaries.ratio_of_rounds(slow, fast)
  assert ratio.median == pytest.approx(2.0)
  assert ratio.high - ratio.low < 1e-9 and ratio.number == 2


def test_rounds_must_be_of_equal_number():
  with pytest.raises(ValueError):
    summaries.ratio_of_rounds([[1.0]], [[1.0], [1.0]])


def test_a_single_value_is_one_round():
  assert summaries.rounds_of({"first_step": 2.5}, "first_step") == [[2.5]]
  assert summaries.rounds_of({"forward": [[1.0]]}, "forward") == [[1.0]]
  assert summaries.rounds_of({}, "forward") is None


def test_the_best_of_each_side_are_compared():
  results = {
    "here_float32": {"forward": [[2.0], [2.0]]},
    "here_bfloat16": {"forward": [[1.0], [1.0]]},
    "pytorch_float32": {"forward": [[4.0], [4.0]]},
    "pytorch_bfloat16": {"forward": [[3.0], [2.0]]},
    "pytorch_bfloat16_compiled": {"error": "no compiler"},
  }
  theirs = [name for name in results if name.startswith("pytorch")]
  ratio = summaries.ratio_of_best(results, theirs, ["here_float32", "here_bfloat16"], "forward")
  assert (ratio.over, ratio.under) == ("pytorch_bfloat16", "here_bfloat16")
  assert ratio.spread.median == 2.5
  assert summaries.ratio_of_best(results, theirs, [], "forward") is None
  assert summaries.ratio_of_best(results, theirs, ["here_float32"], "training") is None
