"""Figure 17: FID throughout training, by dropout and by the rate of the moving average."""

from collections.abc import Sequence
import pathlib

import matplotlib.axes

from trainers.reproduction import curves
from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import shared_tasks
from trainers.reproduction import tasks
from trainers.reproduction.experiments import base
from trainers.reproduction.experiments import table4

_DROPOUTS = (0.0, 0.1, 0.3)


@experiments.EXPERIMENTS.register("fig17")
class Figure17(base.Experiment):
  """FID of several moving averages. It judges no claim, because there is only one seed."""

  title = "Figure 17: a sweep of dropout and of the moving average"

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns a training for each dropout. Each training keeps all moving averages."""
    return [_training(scale, dropout) for dropout in _DROPOUTS]

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns FID by the training step."""
    # {(dropout, rate): {step: FID}}
    fid = {
      (dropout, rate): {step: scores["fid"] for step, scores in sorted(by_step.items())}
      for dropout in _DROPOUTS
      for rate, by_step in curves.scores_by_rate(_training(scale, dropout).folder(output)).items()
    }

    def draw(*axes: matplotlib.axes.Axes) -> None:
      for axis, dropout in zip(axes, _DROPOUTS):
        for rate in scale.ema_sweep.rates:
          steps, values = zip(*fid[dropout, rate].items())
          axis.plot(steps, values, marker="o", markersize=3, label=f"EMA {rate}")
        axis.set(title=f"dropout {dropout}", xlabel="training step", ylabel="FID", yscale="log")
        axis.sharey(axes[0])
      axes[0].legend()

    rows = tuple(
      (
        str(dropout),
        str(rate),
        min(by_step.values()),
        min(by_step, key=by_step.__getitem__),
        list(by_step.values())[-1],
      )
      for (dropout, rate), by_step in fid.items()
    )
    return sections.Section(
      f"Models of {scale.fid_models.data}{', class-conditional' if scale.sizes else ''}, trained "
      "with L_hybrid and the cosine schedule, T = 4000, and evaluated in training (--eval_every), "
      f"seed {scale.seeds[0]}. In the paper, the rates 0.9999 and 0.99995 worked best. A small "
      "dropout improved the best FID, but took longer to reach it.",
      figures=(
        sections.plot(
          draw, "FID throughout training, by dropout and rate.", columns=len(_DROPOUTS), width=3.6
        ),
      ),
      tables=(
        sections.Table(("dropout", "EMA rate", "best FID", "at step", "FID at the end"), rows, ""),
      ),
    )


def _training(scale: scales.Scale, dropout: float) -> tasks.TrainingTask:
  seed = scale.seeds[0]
  # The paper's model is class-conditional.
  training = (
    table4.training(scale, "small", seed)
    if scale.sizes
    else scale.fid_models.training(scales.COSINE_HYBRID, seed)
  )
  rates = ",".join(map(str, scale.ema_sweep.rates))
  return shared_tasks.evaluated_in_training(
    scale,
    training,
    f"dropout{dropout}",
    (f"--dropout={dropout}", f"--ema={rates}", "--eval_scores=fid"),
    train_steps=scale.ema_sweep.train_steps,
    evaluations=scale.ema_sweep.evaluations,
  )
