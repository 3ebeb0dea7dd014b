"""Figure 1: the ratio of the posterior's variance to beta."""

import numpy as np

from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.diffusion import schedules
from trainers.reproduction import claims
from trainers.reproduction import sections

_STEPS = (100, 1000, 10_000)
_START = 0.05  # What counts as the start, of the process.
_NEAR = 0.05  # What counts as near 1.


def needs(scale):
  """Nothing: a fact of the schedules."""
  del scale
  return ()


def ratios(schedule, steps):
  """Beta tilde over beta (Eq. 10) of every step but the first, where it is 0."""
  process = process_lib.GaussianProcess(schedules.make_betas(schedule, steps))
  return (process.posterior_variance / process.betas)[1:]


def show(scale, output):
  """Figure 1, and claim 2."""
  del scale, output
  found = {
    schedule: [ratios(schedule, steps) for steps in _STEPS] for schedule in schedules.SCHEDULES
  }

  def draw(*axes):
    for axis, (schedule, curves) in zip(axes, found.items()):
      for steps, curve in zip(_STEPS, curves):
        axis.plot(np.arange(1, steps) / steps, curve, label=f"T = {steps:,} steps")
      axis.set(
        title=schedule,
        xlabel="diffusion step (t/T)",
        ylabel="posterior variance / beta",
        yscale="log",
      )
      axis.legend()

  rows = tuple(
    (schedule, steps, float(curve[0]), _after_start(curve), float(np.mean(1 - curve)))
    for schedule, curves in found.items()
    for steps, curve in zip(_STEPS, curves)
  )
  return sections.Section(
    "Figure 1: the posterior's variance against beta",
    "The paper does not name the schedule of its Figure 1: here are both. A fixed variance may be either of the two, "
    "which differ at the start only.",
    figures=(
      sections.plot(
        draw,
        "The ratio of the posterior's variance to beta, for processes of three lengths.",
        columns=2,
      ),
    ),
    tables=(
      sections.Table(
        (
          "schedule",
          "T",
          "ratio at the second step",
          f"least after {_START:.0%} of the steps",
          "mean of 1 - ratio",
        ),
        rows,
        "The ratio is 0 at the first step, and rises with t.",
      ),
    ),
    claims=(_claim(found),),
  )


def _after_start(curve):
  return float(np.min(curve[int(_START * (len(curve) + 1)) :]))


def _claim(found):
  parts = []
  for schedule, curves in found.items():
    for steps, curve in zip(_STEPS[1:], curves[1:]):
      parts.append(
        claims.exact(
          f"{schedule}, T = {steps:,}: near 1 after the start",
          _after_start(curve) - (1 - _NEAR),
          f"the least ratio after the first {_START:.0%} of the steps, less {1 - _NEAR}",
        )
      )
    parts.append(
      claims.exact(
        f"{schedule}, T = {_STEPS[1]:,}: not near 1 at the start",
        1 - _NEAR - float(curves[1][0]),
        f"{1 - _NEAR}, less the ratio at the second step",
      )
    )
  return claims.Claim(
    2, "The ratio of the posterior's variance to beta is near 1 but at the start.", tuple(parts)
  )
