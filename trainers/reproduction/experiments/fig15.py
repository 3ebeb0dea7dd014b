"""Figure 15: bits/dim by the number of evaluation steps."""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
from typing import Any
from typing import NamedTuple

import matplotlib.axes
import numpy as np

from iddpm_tf.diffusion import respacing
from trainers.reproduction import claims
from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import shared_tasks
from trainers.reproduction import tasks
from trainers.reproduction.experiments import base

_HYBRID, _SIMPLE = scales.COSINE_HYBRID, scales.COSINE_SIMPLE
_DENSE, _STRIDED = "dense_start", "strided"
_LABELS = {_DENSE: "Appendix E's schedule", _STRIDED: "constant stride"}
_CLAIMED = 100  # The number of steps, K, by which the claim is judged.
# The timesteps that Appendix E's schedule evaluates for it.
_FAIR = len(respacing.likelihood_timesteps(_HYBRID.steps, _CLAIMED))


class _Curve(NamedTuple):
  """One curve of the figure: a model, and a value of `--nll_schedule`."""

  row: scales.Row
  schedule: str

  @property
  def label(self) -> str:
    return f"L_{self.row.objective}, {_LABELS[self.schedule]}"


_HYBRID_DENSE, _HYBRID_STRIDED = _Curve(_HYBRID, _DENSE), _Curve(_HYBRID, _STRIDED)
_CURVES = (_HYBRID_DENSE, _HYBRID_STRIDED, _Curve(_SIMPLE, _DENSE))


@experiments.EXPERIMENTS.register("fig15")
class Figure15(base.Experiment):
  """Estimates of bits/dim from few timesteps, for two choices of the timesteps."""

  title = "Figure 15: bits/dim with fewer evaluation steps"
  claims = (12,)

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns the evaluations of all curves, in mid-training, and by all timesteps."""
    num_steps = scale.likelihood.num_steps
    return [
      *(
        _evaluation(scale, curve, seed, steps)
        for curve in _CURVES
        for steps in num_steps
        for seed in scale.seeds
      ),
      *(_mid_evaluation(scale, row, steps) for row in (_HYBRID, _SIMPLE) for steps in num_steps),
      *(task for of_seeds in _judging(scale).values() for task in of_seeds),
    ]

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns bits/dim by the number of timesteps, and claim 12."""
    num_steps = scale.likelihood.num_steps
    measured = _read(scale, output)
    training = scale.likelihood_models.training(_HYBRID, scale.seeds[0])
    mid_steps = shared_tasks.mid_training(training).train_steps
    return sections.Section(
      "The schedule of Appendix E evaluates every t up to T/K besides the K strided ones. L_simple "
      "has the variance beta, as in training; the paper's figure has beta tilde, too. Cosine "
      "schedule, T = 4000. All points are computed "
      "from the same images, which are fewer than those of Table 2. The models are those after "
      f"{training.train_steps:,} training steps, and those in mid-training (seed "
      f"{scale.seeds[0]}), after {mid_steps:,} steps.",
      figures=(
        sections.plot(
          lambda axis: _draw(axis, measured),
          "Bits/dim by the number of timesteps evaluated, averaged over the seeds.",
          width=8.0,
        ),
      ),
      tables=(_table(num_steps, measured),),
      claims=(judge(**measured.judging),),
    )


class _Measured(NamedTuple):
  """Bits/dim, and the numbers of timesteps that were evaluated for them."""

  nll: Mapping[_Curve, np.ndarray]  # [K, seeds]
  # One number for each K. The schedule of Appendix E evaluates more than K timesteps.
  evaluated: Mapping[_Curve, Sequence[int]]
  mid: Mapping[scales.Row, Sequence[float]]  # In mid-training, one for each K.
  judging: Mapping[str, np.ndarray]  # What claim 12 is judged by: see `judge`. [further seeds, too]
  num_seeds: int  # Without the further ones.

  def mean(self, choice: str) -> float:
    """Returns the average of a choice of timesteps of `judging` over the seeds of the curves."""
    return float(self.judging[choice][: self.num_seeds].mean())


def _read(scale: scales.Scale, output: pathlib.Path) -> _Measured:
  """Returns the results of the evaluations."""
  num_steps = scale.likelihood.num_steps
  nll = {
    curve: np.array(
      [
        [_evaluation(scale, curve, seed, k).score(output, "nll") for seed in scale.seeds]
        for k in num_steps
      ]
    )
    for curve in _CURVES
  }
  evaluated = {
    curve: [
      _evaluation(scale, curve, scale.seeds[0], k).results(output)[""]["num_timesteps"]
      for k in num_steps
    ]
    for curve in _CURVES
  }
  mid = {
    row: [_mid_evaluation(scale, row, k).score(output, "nll") for k in num_steps]
    for row in (_HYBRID, _SIMPLE)
  }
  judging = {
    choice: np.array([task.score(output, "nll") for task in of_seeds])
    for choice, of_seeds in _judging(scale).items()
  }
  return _Measured(nll, evaluated, mid, judging, len(scale.seeds))


def _draw(axis: matplotlib.axes.Axes, measured: _Measured) -> None:
  """Draws the curves."""
  for curve, values in measured.nll.items():
    means = values.mean(axis=1)
    axis.plot(measured.evaluated[curve], means, marker="o", markersize=3, label=curve.label)
  for i, (row, mid_values) in enumerate(measured.mid.items(), len(measured.nll)):
    curve = _Curve(row, _DENSE)
    label = f"{curve.label}, mid-training"
    timesteps = measured.evaluated[curve]
    axis.plot(timesteps, mid_values, "--", color=f"C{i}", linewidth=0.9, label=label)
  label = f"L_hybrid, all {_HYBRID.steps} steps"
  axis.axhline(measured.mean("full"), color="0.4", linewidth=0.8, linestyle="--", label=label)
  axis.set(xlabel="timesteps evaluated", ylabel="NLL (bits/dim)", xscale="log")
  axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _table(num_steps: Sequence[int], measured: _Measured) -> sections.Table:
  """Returns the table of all values, by K."""
  rows: list[tuple[Any, ...]] = [
    (
      k,
      measured.evaluated[_HYBRID_DENSE][i],
      *(float(values[i].mean()) for values in measured.nll.values()),
      *(values[i] for values in measured.mid.values()),
    )
    for i, k in enumerate(num_steps)
  ]
  rows += [
    (_FAIR, None, None, measured.mean("fair"), *[None] * 3),
    (_HYBRID.steps, _HYBRID.steps, measured.mean("full"), *[None] * 4),
  ]
  columns = (
    "K",
    "timesteps of Appendix E's schedule",
    *(curve.label for curve in _CURVES),
    *(f"{_Curve(row, _DENSE).label}, mid-training" for row in measured.mid),
  )
  return sections.Table(
    columns,
    tuple(sorted(rows, key=lambda row: row[0])),
    "NLL (bits/dim), averaged over the seeds; in mid-training, of one seed.",
  )


def _evaluation(scale: scales.Scale, curve: _Curve, seed: int, steps: int) -> tasks.EvaluationTask:
  training = scale.likelihood_models.training(curve.row, seed)
  return _few_steps(scale, training, steps, curve.schedule)


def _mid_evaluation(scale: scales.Scale, row: scales.Row, steps: int) -> tasks.EvaluationTask:
  """Returns the evaluation of the first seed's model in mid-training."""
  training = scale.likelihood_models.training(row, scale.seeds[0])
  return _few_steps(scale, shared_tasks.mid_training(training), steps, _DENSE)


def _few_steps(
  scale: scales.Scale, training: tasks.TrainingTask, steps: int, schedule: str
) -> tasks.EvaluationTask:
  return shared_tasks.evaluation(
    f"nll_{schedule}_{steps}",
    training,
    (*scale.likelihood.terms_flags, f"--nll_steps={steps}", f"--nll_schedule={schedule}"),
  )


def _judging(scale: scales.Scale) -> dict[str, list[tasks.EvaluationTask]]:
  """Returns the evaluations of each seed that judge claim 12, by the choice of timesteps."""
  seeds = scale.seeds_of(12)
  return {
    "strided": [_evaluation(scale, _HYBRID_STRIDED, seed, _CLAIMED) for seed in seeds],
    "dense": [_evaluation(scale, _HYBRID_DENSE, seed, _CLAIMED) for seed in seeds],
    "fair": [_evaluation(scale, _HYBRID_STRIDED, seed, _FAIR) for seed in seeds],
    "full": [
      shared_tasks.terms(scale, scale.likelihood_models.training(_HYBRID, seed)) for seed in seeds
    ],
  }


def judge(
  *, strided: np.ndarray, dense: np.ndarray, fair: np.ndarray, full: np.ndarray
) -> claims.Claim:
  """Judges claim 12 by bits/dim of L_hybrid, of the same images, one for each seed.

  Args:
    strided: by K strided timesteps.
    dense: by Appendix E's schedule of the same K.
    fair: by as many strided timesteps as that schedule evaluates.
    full: by all timesteps.
  """
  how = f"bits/dim of L_hybrid, of the same images, K = {_CLAIMED}"
  return claims.Claim(
    12,
    "Constant striding hurts NLL, and Appendix E's schedule repairs it.",
    (
      claims.paired("strided minus all steps", strided, full, how),
      claims.paired("strided minus Appendix E's schedule", strided, dense, how),
      claims.over_seeds(
        "more than half of the harm is repaired",
        (strided - dense) - (strided - full) / 2,
        "(strided minus Appendix E's schedule) minus half of (strided minus all steps), " + how,
      ),
      claims.paired(
        f"{_FAIR} strided steps minus Appendix E's schedule, which evaluates as many",
        fair,
        dense,
        how,
      ),
    ),
  )
