"""Figure 2: the terms of the bound."""

from collections.abc import Sequence
import pathlib

import matplotlib.axes
import numpy as np

from trainers.reproduction import claims
from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import shared_tasks
from trainers.reproduction import tasks
from trainers.reproduction.experiments import base

_ROW = scales.COSINE_HYBRID
_FIRST = 0.01  # The part of the terms that counts as the first ones.


@experiments.EXPERIMENTS.register("fig2")
class Figure2(base.Experiment):
  """Every term of the bound of the hybrid model."""

  title = "Figure 2: terms of the bound"
  claims = (3,)

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns the evaluation of all terms for each seed."""
    return [_evaluation(scale, seed) for seed in scale.seeds]

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns the terms by diffusion step, and claim 3."""
    by_seed = {seed: _evaluation(scale, seed).terms(output) for seed in scale.seeds}
    first = int(_FIRST * _ROW.steps)

    def draw(axis: matplotlib.axes.Axes) -> None:
      for seed, (terms, timesteps) in by_seed.items():
        axis.plot(timesteps, terms, label=f"seed {seed}", linewidth=0.6)
      axis.set(xlabel="diffusion step", ylabel="loss term (bits/dim)", yscale="log")
      axis.legend()

    rows = tuple(
      (f"seed {seed}", *(float(np.sum(terms[:count])) for count in (1, 10, first, len(terms))))
      for seed, (terms, _) in by_seed.items()
    )
    return sections.Section(
      "The terms of a model trained with L_hybrid and the cosine schedule, T = "
      f"{_ROW.steps:,}, on {scale.likelihood_models.data}. The first few terms contribute most of "
      "the negative log-likelihood.",
      figures=(sections.plot(draw, "Terms of the bound by diffusion step."),),
      tables=(
        sections.Table(
          ("", "first term", "first 10", f"first {first}", "all"),
          rows,
          "Sums of terms in bits/dim, without L_T.",
        ),
      ),
      claims=(judge([terms for terms, _ in by_seed.values()]),),
    )


def judge(terms: Sequence[np.ndarray]) -> claims.Claim:
  """Judges claim 3 by the terms of each seed, in the order of the timesteps."""
  steps = len(terms[0])
  first = int(_FIRST * steps)
  part = claims.over_seeds(
    f"the first {_FIRST:.0%} of the steps contribute more than half",
    [np.sum(of_seed[:first]) / np.sum(of_seed) - 0.5 for of_seed in terms],
    f"the share of the first {first} terms in the sum of all {steps:,} terms, minus 0.5",
  )
  return claims.Claim(3, "The first terms dominate the bound.", (part,))


def _evaluation(scale: scales.Scale, seed: int) -> tasks.EvaluationTask:
  return shared_tasks.terms(scale, scale.likelihood_models.training(_ROW, seed))
