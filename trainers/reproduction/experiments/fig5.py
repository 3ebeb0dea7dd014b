"""Figure 5: alpha bar of both schedules."""

import pathlib

import matplotlib.axes
import numpy as np

from iddpm_tf.diffusion.schedules import base as schedules
from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction.experiments import base

_STEPS = 4000


@experiments.EXPERIMENTS.register("fig5")
class Figure5(base.Experiment):
  """The cumulative products of 1 - beta."""

  title = "Figure 5: alpha bar throughout diffusion"

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns alpha bar by the diffusion step."""
    del scale, output  # Alpha bar depends on the schedules only.
    curves = {
      name: np.cumprod(1 - schedules.make_betas(name, _STEPS)) for name in ("linear", "cosine")
    }
    time = (np.arange(_STEPS) + 1) / _STEPS

    def draw(axis: matplotlib.axes.Axes) -> None:
      for name, curve in curves.items():
        axis.plot(time, curve, label=name)
      axis.set(xlabel="diffusion step (t/T)", ylabel="alpha bar")
      axis.legend()

    rows = tuple(
      (share, *(float(curve[int(share * _STEPS) - 1]) for curve in curves.values()))
      for share in (0.25, 0.5, 0.75, 0.9, 1.0)
    )
    return sections.Section(
      "Alpha bar falls towards zero much faster with the linear schedule, which destroys "
      "information more quickly than necessary.",
      figures=(sections.plot(draw, f"Alpha bar of both schedules, T = {_STEPS:,}."),),
      tables=(sections.Table(("t/T", *curves), rows, "Alpha bar."),),
    )
