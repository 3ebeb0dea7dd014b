"""Every claim holds if the results are as the paper says; each part fails if they contradict it."""

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
from trainers.reproduction.experiments import fig17
from trainers.reproduction.experiments import section3
from trainers.reproduction.experiments import section4
from trainers.reproduction.experiments import table2
from trainers.reproduction.experiments import table4
from trainers.reproduction.experiments import table5

_ROWS = {str(row): row for row in scales.ROWS}
_STEPS = np.arange(1, 9) * 200
_COMPUTE = np.geomspace(1e9, 1e10, 5)
_SCHEDULES = ("linear", "cosine")


def of_seeds(value):
  """Returns a score of three seeds, which differ a little."""
  return value + np.array([0.0, 0.001, -0.002])


def exchanged(results, first, second):
  """Returns the results with those of two models exchanged."""
  return results | {first: results[second], second: results[first]}


# Bits/dim of Table 2, in the order of its rows.
_TABLE = {
  row: of_seeds(value) for row, value in zip(scales.ROWS, (3.73, 3.37, 3.26, 3.26, 3.17, 2.94))
}


def table(first, second):
  """Returns Table 2 with two rows exchanged."""
  return exchanged(_TABLE, _ROWS[first], _ROWS[second])


def ratios(**changes):
  """Returns ratios of variances, each one value at the second step and one at all others."""
  lengths = ("short", "middle", "long")

  def curve(second, others):
    return np.append(second, np.full(99, others))

  return {
    schedule: [curve(*changes.get(f"{schedule}_{length}", (0.1, 0.99))) for length in lengths]
    for schedule in _SCHEDULES
  }


def estimates(trace):
  return [noise_scale.Estimates(2.0, float(value)) for value in of_seeds(trace)]


_NOISE = {fig7.HYBRID: estimates(10), fig7.UNIFORM: estimates(1000), fig7.RESAMPLED: estimates(50)}


def resampling(trace=1000, hybrid=3.4, uniform=3.5):
  """Returns what claim 8 is judged by: the noise of uniform t, and bits/dim of two objectives."""
  nll = {fig7.HYBRID: hybrid, fig7.UNIFORM: uniform, fig7.RESAMPLED: 3.3}
  by_objective = {name: of_seeds(value) for name, value in nll.items()}
  # L_vlb with uniform t has fewer seeds.
  more = {name: np.append(by_objective[name], nll[name]) for name in (fig7.HYBRID, fig7.RESAMPLED)}
  by_objective |= more
  return estimates(trace), estimates(50), by_objective


def skipping(*, linear, cosine):
  """Returns FID without and with skipped steps, where the last is given."""
  return {
    name: {0.0: of_seeds(2), 0.2: of_seeds(value)}
    for name, value in {"linear": linear, "cosine": cosine}.items()
  }


_BETA, _BETA_TILDE = "L_simple, variance beta", "L_simple, variance beta tilde"
_FID = {
  "L_hybrid": {25: 3.5, 50: 3.2, 100: 3.1, 1000: 3.0},
  "L_simple, DDIM": {25: 3.4, 50: 3.3, 100: 3.3},
  _BETA: {25: 90, 50: 30, 100: 10},
  _BETA_TILDE: {25: 20, 50: 10, 100: 5},
}


def fid(name=None, changes=None):
  """Returns FID of each seed, with changes to that of one curve."""
  return {
    curve: {
      steps: of_seeds(value)
      for steps, value in (values | (changes or {}) if curve == name else values).items()
    }
    for curve, values in _FID.items()
  }


def sampling(name=None, changes=None, *, photos=None, mid_ddim=9.0, mid_hybrid=8.0):
  """Returns what Figure 8 is judged by: FID at the end, its increases, and in mid-training.

  Args:
    name: a curve.
    changes: changes to the FID of this curve, on digits.
    photos: a curve, and changes to its FID on photographs.
    mid_ddim: FID of DDIM in mid-training.
    mid_hybrid: FID of L_hybrid in mid-training.
  """
  mid = {"L_simple, DDIM": {100: of_seeds(mid_ddim)}, "L_hybrid": {100: of_seeds(mid_hybrid)}}
  by_data = {"digits": fid(name, changes), "photos": fid(*(photos or ()))}
  increases = {
    data: {curve: by_steps[25] - by_steps[100] for curve, by_steps in curves.items()}
    for data, curves in by_data.items()
  }
  return [by_data, increases, mid]


def spacings(*, ddim=None, hybrid=None):
  """Returns what section 4 is judged by, with changes to FID by the spacing."""
  values = {
    "L_simple, DDIM": {"stride": 3.3, "uniform": 30, "quadratic": 5} | (ddim or {}),
    "L_hybrid": {"uniform": 3.2, "stride": 3.6} | (hybrid or {}),
  }
  return [
    {
      name: {spacing: of_seeds(value) for spacing, value in by_spacing.items()}
      for name, by_spacing in values.items()
    }
  ]


def parents(hybrid=3.57, vlb=3.53):
  return {"L_hybrid": of_seeds(hybrid), "L_vlb": of_seeds(vlb), "ensemble": of_seeds(3.52)}


def timesteps(strided, dense, fair, full):
  """Returns bits/dim by the choice of timesteps."""
  return [of_seeds(value) for value in (strided, dense, fair, full)]


def judge_timesteps(strided, dense, fair, full):
  return fig15.judge(strided=strided, dense=dense, fair=fair, full=full)


def training_curves(*, linear, cosine):
  """Returns scores of trainings that are best at two of the steps, `{schedule: [seeds, steps]}`."""
  return {
    name: np.stack([4 + shift + np.abs(_STEPS - best) / 1e4 for shift in of_seeds(0)])
    for name, best in {"linear": linear, "cosine": cosine}.items()
  }


def overfitting(*, linear=1600, cosine=600, fid=600):
  """Returns NLL of both schedules and FID of the cosine schedule that are best at these steps."""
  nll = training_curves(linear=linear, cosine=cosine)
  return _STEPS, nll, training_curves(linear=1600, cosine=fid)


def noise_without_overfitting():
  """Returns scores of trainings that improve to their ends, but for one early value of each."""
  steps, nll, fid = overfitting(cosine=1600, fid=1600)
  for scores in (nll, fid):
    scores["cosine"][np.arange(3), np.arange(3)] -= 1
  return steps, nll, fid


def scaling(*factors, exponent=0.4):
  """Returns compute and FID of networks of several widths and three seeds.

  All lie on one power law, but for a factor of each width.
  """
  return [
    [
      np.stack([_COMPUTE * 4**i, value * factor * (_COMPUTE * 4**i) ** -exponent])
      for i, factor in enumerate(factors)
    ]
    for value in of_seeds(1e4)
  ]


def rising():
  """Returns networks whose FID rises in training, and begins lower the larger they are."""
  rise = np.linspace(1, 1.1, len(_COMPUTE))
  return [
    [np.stack([_COMPUTE * 4**i, value * rise / 2**i]) for i in range(3)] for value in of_seeds(1)
  ]


# Bits/dim and FID by what was evaluated.
_STATEMENTS = {
  "Eq. 15": 3.17,
  "log-variance": 3.2,
  "L_hybrid": 3.4,
  "L_hybrid (resampled)": 3.41,
  "L_vlb": 3.5,
  "L_vlb (resampled)": 3.3,
  "FID: L_hybrid": 3.2,
  "FID: L_vlb": 11.5,
  "FID: L_simple, beta": 3.0,
  "FID: L_simple, beta tilde": 3.1,
}


def statements(*, photos=0.003, digits=0.003, **changes):
  """Returns what claims 15 to 19 are judged by: scores, and the shares of v outside its range."""
  values = {name: of_seeds(value) for name, value in (_STATEMENTS | changes).items()}
  return values, {"photos": of_seeds(photos), "digits": of_seeds(digits)}


def averages(short=9.0, middle=7.0, long=8.0):
  """Returns FID at two steps, of which the second is better, by the rate of the moving average."""
  rates = {0.9: short, 0.96: 7.5, 0.97: middle, 0.99: long}
  return {rate: np.stack([of_seeds(10), of_seeds(value)], axis=1) for rate, value in rates.items()}


def recall(small=0.72, large=0.71):
  return {"small": of_seeds(small), "large": of_seeds(large)}


def two_stages(single=31.5, two=12.3):
  """Returns FID of Table 5."""
  return {"single-stage": of_seeds(single), "two-stage": of_seeds(two)}


# {number: (judge, arguments as in the paper, {parts that fail: arguments that contradict them})}
CLAIMS = {
  1: (table2.judge, [_TABLE], {(0,): [table("linear_1k_simple", "linear_4k_simple")]}),
  2: (
    fig1.judge,
    [ratios()],
    {
      (0,): [ratios(linear_middle=(0.1, 0.5))],
      (1,): [ratios(linear_long=(0.1, 0.5))],
      (2,): [ratios(linear_middle=(0.99, 0.99))],
      (3,): [ratios(cosine_middle=(0.1, 0.5))],
      (4,): [ratios(cosine_long=(0.1, 0.5))],
      (5,): [ratios(cosine_middle=(0.99, 0.99))],
    },
  ),
  3: (
    fig2.judge,
    [3 * [1 / np.arange(1, 401) ** 2]],
    {(0,): [3 * [1 / np.arange(400, 0, -1) ** 2]]},
  ),
  4: (
    table2.judge,
    [_TABLE],
    {
      (i,): [table(f"{schedule}_4k_simple", f"{schedule}_4k_hybrid")]
      for i, schedule in enumerate(_SCHEDULES)
    },
  ),
  5: (
    table2.judge,
    [_TABLE],
    {
      (i,): [table(f"linear_4k_{objective}", f"cosine_4k_{objective}")]
      for i, objective in enumerate(("simple", "hybrid"))
    },
  ),
  6: (
    fig4.judge,
    [skipping(linear=2.02, cosine=4)],
    {(0,): [skipping(linear=2.4, cosine=4)], (1,): [skipping(linear=2.04, cosine=2.02)]},
  ),
  7: (fig7.judge, [_NOISE], {(0,): [exchanged(_NOISE, fig7.HYBRID, fig7.UNIFORM)]}),
  8: (
    fig6.judge,
    resampling(),
    {
      (0,): resampling(trace=5),
      (1,): resampling(hybrid=3.2),
      (2,): resampling(uniform=3.2),
    },
  ),
  9: (
    fig8.judge,
    sampling(),
    {
      (0,): sampling("L_hybrid", {1000: 2.0}),
      (1,): sampling(_BETA, {25: 10}),
      (2,): sampling(_BETA_TILDE, {25: 5}),
      (3,): sampling(photos=("L_hybrid", {1000: 2.0})),
      (4,): sampling(photos=(_BETA, {25: 10})),
      (5,): sampling(photos=(_BETA_TILDE, {25: 5})),
    },
  ),
  10: (
    fig8.judge,
    sampling(),
    {
      (0,): sampling("L_simple, DDIM", {25: 4}),
      (1,): sampling("L_simple, DDIM", {50: 3}),
      (2,): sampling("L_simple, DDIM", {100: 3}),
      (3,): sampling(photos=("L_simple, DDIM", {25: 4})),
      (4,): sampling(photos=("L_simple, DDIM", {50: 3})),
      (5,): sampling(photos=("L_simple, DDIM", {100: 3})),
    },
  ),
  11: (fig13.judge, [parents()], {(0,): [parents(hybrid=3.5)], (1,): [parents(vlb=3.5)]}),
  12: (
    judge_timesteps,
    timesteps(4.0, 3.3, 3.7, 3.2),
    {
      (0,): timesteps(3.1, 3.0, 3.3, 3.2),
      # What does more harm repairs nothing.
      (1, 2): timesteps(4.0, 4.1, 4.2, 3.2),
      (2,): timesteps(4.0, 3.8, 3.9, 3.2),
      (3,): timesteps(4.0, 3.3, 3.25, 3.2),
    },
  ),
  13: (
    fig16.judge,
    overfitting(),
    {(0,): overfitting(linear=600, cosine=1200), (1,): noise_without_overfitting()},
  ),
  14: (
    fig10.judge,
    [scaling(1, 1, 1)],
    {
      (0,): [rising()],
      (1,): [scaling(1, 4)],  # The larger network is four times worse everywhere.
      (2,): [scaling(1, 0.01)],  # It is a hundred times better than the law of the smaller one.
      (0, 1): [scaling(1, 1, exponent=-0.4)],
    },
  ),
  15: (section3.judge, statements(), {(0,): statements(**{"FID: L_vlb": 3.1})}),
  16: (section3.judge, statements(), {(0,): statements(**{"L_hybrid (resampled)": 3.3})}),
  17: (section3.judge, statements(), {(0,): statements(**{"FID: L_simple, beta": 10})}),
  18: (
    section3.judge,
    statements(),
    {(0,): statements(photos=0.2), (1,): statements(digits=0.2)},
  ),
  19: (section3.judge, statements(), {(0,): statements(**{"log-variance": 3.1})}),
  20: (
    section4.judge,
    spacings(),
    {
      (0,): spacings(ddim={"uniform": 4.5}),  # A third more only.
      (1,): spacings(ddim={"quadratic": 3.0}),
      (2,): spacings(hybrid={"stride": 3.0}),
    },
  ),
  21: (
    fig8.judge,
    sampling(mid_ddim=12.0),
    {
      (0, 1): sampling(mid_ddim=7.0),
      (1,): sampling(mid_ddim=8.3),  # Two thirds of the gap are left.
    },
  ),
  22: (
    table5.judge,
    [two_stages()],
    {(0,): [two_stages(single=12.0)]},
  ),
  23: (fig16.judge, overfitting(), {(0,): noise_without_overfitting()}),
  24: (
    fig17.judge,
    [averages()],
    {(0,): [averages(short=6.5)], (1,): [averages(long=6.5)]},
  ),
  25: (
    table4.judge,
    [recall()],
    {(0,): [recall(small=0.5)], (1,): [recall(large=0.5)]},
  ),
}


def judged(number, judge, arguments):
  """Returns one of the claims that a judge judges."""
  all_claims = judge(*arguments)
  all_claims = (all_claims,) if isinstance(all_claims, claims.Claim) else all_claims
  (found,) = [claim for claim in all_claims if claim.number == number]
  return found


@pytest.mark.parametrize("number", CLAIMS)
def test_a_claim_holds_if_the_results_are_those_of_the_paper(number):
  judge, papers, _ = CLAIMS[number]
  claim = judged(number, judge, papers)
  assert [part.verdict for part in claim.parts] == ["holds"] * len(claim.parts)


@pytest.mark.parametrize(
  "number, failing", [(number, parts) for number in CLAIMS for parts in CLAIMS[number][2]]
)
def test_the_parts_that_are_contradicted_fail(number, failing):
  judge, _, contraries = CLAIMS[number]
  claim = judged(number, judge, contraries[failing])
  assert claim.verdict == "fails"
  assert tuple(i for i, part in enumerate(claim.parts) if part.verdict == "fails") == failing


@pytest.mark.parametrize("number", CLAIMS)
def test_every_part_is_contradicted(number):
  judge, papers, contraries = CLAIMS[number]
  parts = range(len(judged(number, judge, papers).parts))
  assert {part for failing in contraries for part in failing} == set(parts)


def test_every_claim_is_contradicted():
  assert {number for cls in experiments.load_all().values() for number in cls.claims} == {*CLAIMS}


def test_a_frontier_of_two_points_says_nothing_of_a_power_law():
  """The last part cannot be estimated."""
  worse = [[curve[:, :2] for curve in of_widths] for of_widths in scaling(1, 4)]
  assert fig10.judge(worse).parts[2].verdict == "undecided"


def test_fid_of_infinitely_many_samples_below_0_leaves_a_power_law_undecided():
  curves_of_seeds = scaling(1, 1)
  curves_of_seeds[1][0][1, -1] = -0.01
  assert fig10.judge(curves_of_seeds).verdict == "undecided"


def test_recall_is_unknown_without_a_gan_to_compare():
  assert table4.judge({}).verdict == "undecided"
