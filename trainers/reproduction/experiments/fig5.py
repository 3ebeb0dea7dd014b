"""Figure 5: alpha bar of both schedules."""

import numpy as np

from iddpm_tf.diffusion import schedules
from trainers.reproduction import sections

_STEPS = 4000


def needs(scale):
  """Nothing: a fact of the schedules."""
  del scale
  return ()


def show(scale, output):
  """Figure 5."""
  del scale, output
  curves = {
    name: np.cumprod(1 - schedules.make_betas(name, _STEPS)) for name in schedules.SCHEDULES
  }
  time = (np.arange(_STEPS) + 1) / _STEPS

  def draw(axis):
    for name, curve in curves.items():
      axis.plot(time, curve, label=name)
    axis.set(xlabel="diffusion step (t/T)", ylabel="alpha bar")
    axis.legend()

  rows = tuple(
    (share, *(float(curve[int(share * _STEPS) - 1]) for curve in curves.values()))
    for share in (0.25, 0.5, 0.75, 0.9, 1.0)
  )
  return sections.Section(
    "Figure 5: alpha bar throughout diffusion",
    "The linear schedule falls towards zero much faster, and destroys information more quickly than necessary.",
    figures=(sections.plot(draw, f"Alpha bar of both schedules, T = {_STEPS:,}."),),
    tables=(sections.Table(("t/T", *curves), rows, "Alpha bar."),),
  )
