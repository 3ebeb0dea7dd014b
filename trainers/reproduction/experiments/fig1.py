"""Figure 1: the ratio of the posterior's variance to beta."""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib

import matplotlib.axes
import numpy as np

from iddpm_tf.diffusion.schedules import base as schedules
from trainers.reproduction import claims
from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction.experiments import base

_SCHEDULES = ("linear", "cosine")
_STEPS = (100, 1000, 10_000)
_START = 0.05  # The part of the process that counts as its start.
_NEAR = 0.95  # A ratio above this counts as near 1.


@experiments.EXPERIMENTS.register("fig1")
class Figure1(base.Experiment):
  """The ratio of the two variances between which the paper interpolates."""

  title = "Figure 1: the posterior's variance against beta"
  claims = (2,)

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns the ratios of both schedules, and claim 2."""
    del scale, output  # The ratios depend on the schedules only.
    curves = {name: [ratios(name, steps) for steps in _STEPS] for name in _SCHEDULES}

    def draw(*axes: matplotlib.axes.Axes) -> None:
      for axis, (schedule, by_steps) in zip(axes, curves.items()):
        for steps, curve in zip(_STEPS, by_steps):
          axis.plot(np.arange(1, steps) / steps, curve, label=f"T = {steps:,} steps")
        axis.set(
          title=schedule,
          xlabel="diffusion step (t/T)",
          ylabel="posterior variance / beta",
          yscale="log",
        )
        axis.legend()

    rows = tuple(
      (schedule, steps, float(curve[0]), _min_after_start(curve), float(np.mean(1 - curve)))
      for schedule, by_steps in curves.items()
      for steps, curve in zip(_STEPS, by_steps)
    )
    columns = (
      "schedule",
      "T",
      "ratio at the second step",
      f"minimum after {_START:.0%} of the steps",
      "mean of 1 - ratio",
    )
    return sections.Section(
      "The paper does not say which schedule its Figure 1 shows, so both are shown here. Either of "
      "the two variances can serve as the fixed variance of the reverse process. They differ only "
      "at the start of the process.",
      figures=(
        sections.plot(
          draw,
          "The ratio of the posterior's variance to beta, for processes of three lengths.",
          columns=2,
        ),
      ),
      tables=(
        sections.Table(columns, rows, "The ratio is 0 at the first step and increases with t."),
      ),
      claims=(judge(curves),),
    )


def ratios(schedule: str, steps: int) -> np.ndarray:
  """Returns beta tilde / beta (Eq. 10) at every step but the first: float64 `[steps - 1]`."""
  from iddpm_tf.diffusion import process as process_lib

  process = process_lib.GaussianProcess(schedules.make_betas(schedule, steps))
  return (process.posterior_variance / process.betas)[1:]


def _min_after_start(curve: np.ndarray) -> float:
  return float(np.min(curve[int(_START * (len(curve) + 1)) :]))


def judge(curves: Mapping[str, Sequence[np.ndarray]]) -> claims.Claim:
  """Judges claim 2 by the ratios of each schedule, one array for each of three lengths."""
  parts = []
  for schedule, by_steps in curves.items():
    # Without the shortest process.
    for steps, curve in zip(_STEPS[1:], by_steps[1:]):
      parts.append(
        claims.exact(
          f"{schedule}, T = {steps:,}: the ratio is near 1 after the start",
          _min_after_start(curve) - _NEAR,
          f"the minimum of the ratio after the first {_START:.0%} of the steps, minus {_NEAR}",
        )
      )
    parts.append(
      claims.exact(
        f"{schedule}, T = {_STEPS[1]:,}: the ratio is not near 1 at the start",
        _NEAR - float(by_steps[1][0]),
        f"{_NEAR}, minus the ratio at the second step",
      )
    )
  return claims.Claim(
    2, "The ratio of the posterior's variance to beta is near 1 except at the start.", tuple(parts)
  )
