"""Every claim holds if the results are as the paper says, and fails if they are the contrary."""

import numpy as np
import pytest

from iddpm_tf.training import noise_scale
from trainers.reproduction import claims
from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction.experiments import fig1
from trainers.reproduction.experiments import fig2
from trainers.reproduction.experiments import fig4
from trainers.reproduction.experiments import fig6
from trainers.reproduction.experiments import fig7
from trainers.reproduction.experiments import fig8
from trainers.reproduction.experiments import fig10
from trainers.reproduction.experiments import fig13
from trainers.reproduction.experiments import fig15
from trainers.reproduction.experiments import fig16
from trainers.reproduction.experiments import table2

_ROWS = {str(row): row for row in scales.ROWS}
_STEPS = np.arange(1, 9) * 200
_COMPUTE = np.geomspace(1e9, 1e10, 5)


def of_seeds(value):
  """Returns a score of three seeds, which differ a little."""
  return value + np.array([0.0, 0.001, -0.002])


def exchanged(results, first, second):
  """Returns the results with those of two models exchanged."""
  return results | {first: results[second], second: results[first]}


def table(*values):
  return {row: of_seeds(value) for row, value in zip(scales.ROWS, values)}


# Bits/dim of Table 2, in the order of its rows.
_PAPERS = table(3.73, 3.37, 3.26, 3.26, 3.17, 2.94)


def tables(first, second):
  """Returns Table 2, and the same with two rows exchanged."""
  return _PAPERS, exchanged(_PAPERS, _ROWS[first], _ROWS[second])


def estimates(trace):
  return [noise_scale.Estimates(2.0, float(value)) for value in of_seeds(trace)]


_NOISE = {fig7.HYBRID: estimates(10), fig7.UNIFORM: estimates(1000), fig7.RESAMPLED: estimates(50)}
_NLL = {
  fig7.HYBRID: of_seeds(3.4),
  fig7.UNIFORM: of_seeds(3.5),
  fig7.RESAMPLED: of_seeds(3.3),
}
_SKIPPED = {
  "linear": {0.0: of_seeds(2), 0.2: of_seeds(2.02)},
  "cosine": {0.0: of_seeds(2), 0.2: of_seeds(4)},
}
_BETA, _BETA_TILDE = "L_simple, variance beta", "L_simple, variance beta tilde"
_FID = {
  "L_hybrid": {25: of_seeds(3.5), 50: of_seeds(3.2), 100: of_seeds(3.1)},
  "L_simple, DDIM": {25: of_seeds(3.4), 50: of_seeds(3.3), 100: of_seeds(3.3)},
  _BETA: {25: of_seeds(90), 50: of_seeds(30), 100: of_seeds(10)},
  _BETA_TILDE: {25: of_seeds(20), 50: of_seeds(10), 100: of_seeds(5)},
}
_PARENTS = {"L_hybrid": of_seeds(3.57), "L_vlb": of_seeds(3.53), "ensemble": of_seeds(3.52)}


def nll_by_timesteps(strided, dense, fair, full):
  return {name: of_seeds(value) for name, value in locals().items()}


def overfitting(*, linear, cosine):
  """Returns the NLL of trainings that are best at two of the steps."""
  return _STEPS, {
    name: np.stack([4 + shift + np.abs(_STEPS - best) / 1e4 for shift in of_seeds(0)])
    for name, best in {"linear": linear, "cosine": cosine}.items()
  }


def scaling(*factors, exponent=0.4):
  """Returns compute and FID of networks of two widths and three seeds.

  All lie on one power law, but for a factor of each width.
  """
  return [
    [
      np.stack([_COMPUTE * size, value * factor * (_COMPUTE * size) ** -exponent])
      for size, factor in zip((1, 4), factors)
    ]
    for value in of_seeds(1e4)
  ]


# {number: (judge, what the paper finds, [what contradicts it])}; each a tuple of arguments.
CLAIMS = {
  1: (table2.judge, *tables("linear_1k_simple", "linear_4k_simple")),
  2: (
    fig1.judge,
    {"cosine": 3 * [np.append(0.1, np.full(99, 0.99))]},
    {"cosine": 3 * [np.append(0.99, np.full(99, 0.1))]},
  ),
  3: (fig2.judge, 3 * [1 / np.arange(1, 401) ** 2], 3 * [1 / np.arange(400, 0, -1) ** 2]),
  4: (table2.judge, *tables("cosine_4k_simple", "cosine_4k_hybrid")),
  5: (table2.judge, *tables("linear_4k_hybrid", "cosine_4k_hybrid")),
  6: (fig4.judge, _SKIPPED, exchanged(_SKIPPED, "linear", "cosine")),
  7: (fig7.judge, _NOISE, exchanged(_NOISE, fig7.HYBRID, fig7.UNIFORM)),
  9: (fig8.judge, _FID, exchanged(_FID, "L_hybrid", _BETA)),
  10: (fig8.judge, _FID, exchanged(_FID, "L_hybrid", "L_simple, DDIM")),
  11: (fig13.judge, _PARENTS, exchanged(_PARENTS, "L_vlb", "ensemble")),
}


def verdict(judged, number):
  """Returns the verdict on one of the claims that a judge has returned."""
  all_claims = (judged,) if isinstance(judged, claims.Claim) else judged
  (found,) = [claim for claim in all_claims if claim.number == number]
  return found.verdict


@pytest.mark.parametrize("number", CLAIMS)
def test_a_claim_holds_as_in_the_paper_and_fails_if_models_change_places(number):
  judge, papers, contrary = CLAIMS[number]
  assert verdict(judge(papers), number) == "holds"
  assert verdict(judge(contrary), number) == "fails"


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_claim_4_is_of_both_schedules(schedule):
  _, contrary = tables(f"{schedule}_4k_simple", f"{schedule}_4k_hybrid")
  assert verdict(table2.judge(contrary), 4) == "fails"


def test_claim_8_is_of_the_noise_and_of_the_likelihood():
  noise = _NOISE[fig7.UNIFORM], _NOISE[fig7.RESAMPLED]
  assert fig6.judge(*noise, _NLL).verdict == "holds"
  assert fig6.judge(*reversed(noise), _NLL).verdict == "fails"
  for other in (fig7.HYBRID, fig7.UNIFORM):
    assert fig6.judge(*noise, exchanged(_NLL, other, fig7.RESAMPLED)).verdict == "fails"


def test_claim_9_is_of_both_fixed_variances():
  for name in (_BETA, _BETA_TILDE):
    robust = _FID["L_hybrid"] | {25: of_seeds(3.1)}
    assert verdict(fig8.judge(_FID | {name: robust}), 9) == "fails"


def test_claim_9_is_of_near_optimal_samples():
  worse = _FID["L_hybrid"] | {1000: of_seeds(2.0)}
  assert verdict(fig8.judge(_FID | {"L_hybrid": worse}), 9) == "fails"


def test_claim_10_is_of_few_and_of_many_steps():
  ddim = _FID["L_simple, DDIM"]
  for steps, value in ((25, 4.0), (100, 3.0)):
    contrary = _FID | {"L_simple, DDIM": ddim | {steps: of_seeds(value)}}
    assert verdict(fig8.judge(contrary), 10) == "fails"


@pytest.mark.parametrize(
  "values, expected",
  [
    ((4.0, 3.3, 3.7, 3.2), "holds"),
    ((3.1, 3.3, 3.7, 3.2), "fails"),  # Striding does no harm.
    ((4.0, 4.1, 4.2, 3.2), "fails"),  # Appendix E's schedule does more harm.
    ((4.0, 3.8, 3.9, 3.2), "fails"),  # Less than half is repaired.
    ((4.0, 3.3, 3.25, 3.2), "fails"),  # The same number of strided timesteps repairs more.
  ],
)
def test_claim_12(values, expected):
  assert fig15.judge(**nll_by_timesteps(*values)).verdict == expected


def test_claim_13():
  assert fig16.judge(*overfitting(linear=1600, cosine=600)).verdict == "holds"
  assert fig16.judge(*overfitting(linear=600, cosine=1200)).verdict == "fails"
  # Nothing overfits.
  assert fig16.judge(*overfitting(linear=1600, cosine=1600)).verdict != "holds"


def test_claim_14_is_one_law_across_sizes():
  assert fig10.judge(scaling(1, 1)).verdict == "holds"
  # The larger network is four times worse everywhere.
  assert fig10.judge(scaling(1, 4)).verdict == "fails"
  # The larger network is a hundred times better than the law of the smaller one.
  assert fig10.judge(scaling(1, 0.01)).verdict == "fails"
  assert fig10.judge(scaling(1, 1, exponent=-0.4)).verdict == "fails"


def test_every_claim_has_a_test_here():
  judged = {number for cls in experiments.load_all().values() for number in cls.claims}
  assert judged == {*CLAIMS, 8, 12, 13, 14}
