"""Figure 11: FID by the number of sampling steps, for two batch sizes and learning rates."""

from collections.abc import Sequence
import pathlib
from typing import Any

import matplotlib.axes

from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import shared_tasks
from trainers.reproduction import tasks
from trainers.reproduction.experiments import base
from trainers.reproduction.experiments import fig8

_CURVES = (fig8.DDIM, fig8.HYBRID)
# Half of the batch, and a fifth of the learning rate, of the scale's other models.
_SMALL_BATCH = {"small": ("--batch_size=64", "--learning_rate=2e-4")}
_SMALL_BATCH_OF_THE_PAPER = ("--batch_size=64", "--learning_rate=2e-5")
_SMALLER, _USUAL = "half of the batch, a fifth of the learning rate", "as in Figure 8"


@experiments.EXPERIMENTS.register("fig11")
class Figure11(base.Experiment):
  """FID of models of two batch sizes. It judges no claim, because there is only one seed."""

  title = "Figure 11: FID by the number of sampling steps, for two batch sizes and learning rates"

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns the evaluations of both samplers, for both kinds of training."""
    return [
      fig8.evaluation(scale, name, training)
      for name in _CURVES
      for training in _trainings(scale, name).values()
    ]

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns FID by the number of steps."""
    fid = {
      (name, kind): fig8.fids(scale, output, name, training, "fid")
      for name in _CURVES
      for kind, training in _trainings(scale, name).items()
    }

    def draw(axis: matplotlib.axes.Axes) -> None:
      for i, ((name, kind), values) in enumerate(fid.items()):
        style: dict[str, Any] = {"color": f"C{i // 2}", "marker": "o", "markersize": 3}
        if kind == _SMALLER:
          style["linestyle"] = "--"
        else:
          style["label"] = name
        axis.plot(*zip(*values.items()), **style)
      axis.set(xlabel="sampling steps", ylabel="FID", xscale="log", yscale="log")
      axis.legend()

    rows = tuple(
      (steps, *(values[steps] for values in fid.values())) for steps in scale.fid.num_steps
    )
    return sections.Section(
      f"FID on {scale.fid_models.data}: {scale.fid.num_samples:,} samples, seed {scale.seeds[0]}. "
      "All models have seen the same number of images. The paper's models are of LSUN bedrooms at "
      "256x256 (configs/lsun_bedroom.flags and lsun_bedroom_small_batch.flags), where DDIM gained "
      "by the smaller batch and learning rate, and L_hybrid by the larger ones. The paper's figure "
      "also has L_simple with both fixed variances.",
      figures=(sections.plot(draw, f"FID by the number of steps. Dashed: {_SMALLER}."),),
      tables=(sections.Table(("steps", *(f"{name}, {kind}" for name, kind in fid)), rows, "FID."),),
    )


def _trainings(scale: scales.Scale, name: str) -> dict[str, tasks.TrainingTask]:
  """Returns the trainings of both kinds."""
  training = fig8.training(scale.fid_models, name, scale.seeds[0])
  flags = _SMALL_BATCH.get(scale.name, _SMALL_BATCH_OF_THE_PAPER)
  small = shared_tasks.variant(training, "small_batch", flags, 2 * training.train_steps)
  return {_SMALLER: small, _USUAL: training}
