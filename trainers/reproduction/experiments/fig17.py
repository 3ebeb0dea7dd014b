"""Figure 17: FID throughout training, by dropout and by the rate of the moving average."""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib

import matplotlib.axes
import numpy as np

from trainers.reproduction import claims
from trainers.reproduction import curves
from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import shared_tasks
from trainers.reproduction import tasks
from trainers.reproduction.experiments import base
from trainers.reproduction.experiments import table4

_DROPOUTS = (0.0, 0.1, 0.3)
_NO_DROPOUT = _DROPOUTS[0]


@experiments.EXPERIMENTS.register("fig17")
class Figure17(base.Experiment):
  """FID of several moving averages. Models with dropout have one seed, and judge no claim."""

  title = "Figure 17: a sweep of dropout and of the moving average"
  claims = (24,)

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns a training for each dropout, and for each further seed without dropout.

    Each training keeps all moving averages.
    """
    first, *others = scale.seeds
    return [
      *(_training(scale, dropout, first) for dropout in _DROPOUTS),
      *(_training(scale, _NO_DROPOUT, seed) for seed in others),
    ]

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns FID by the training step, and claim 24."""
    # {(dropout, rate): {step: FID}}
    fid = {
      (dropout, rate): by_step
      for dropout in _DROPOUTS
      for rate, by_step in _fid_by_rate(scale, output, dropout, scale.seeds[0]).items()
    }
    of_seeds = [_fid_by_rate(scale, output, _NO_DROPOUT, seed) for seed in scale.seeds]
    by_rate = {
      rate: np.array([list(each[rate].values()) for each in of_seeds])
      for rate in scale.ema_sweep.rates
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
      "dropout improved the best FID, but took longer to reach it. Claim 24 is judged by the "
      "models without dropout of all seeds.",
      figures=(
        sections.plot(
          draw, "FID throughout training, by dropout and rate.", columns=len(_DROPOUTS), width=3.6
        ),
      ),
      tables=(
        sections.Table(("dropout", "EMA rate", "best FID", "at step", "FID at the end"), rows, ""),
      ),
      claims=(judge(by_rate),),
    )


def _fid_by_rate(
  scale: scales.Scale, output: pathlib.Path, dropout: float, seed: int
) -> dict[float, dict[int, float]]:
  """Returns FID by the rate of the moving average and by the training step."""
  folder = _training(scale, dropout, seed).folder(output)
  return {
    rate: {step: scores["fid"] for step, scores in sorted(by_step.items())}
    for rate, by_step in curves.scores_by_rate(folder).items()
  }


def _training(scale: scales.Scale, dropout: float, seed: int) -> tasks.TrainingTask:
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


def judge(fid: Mapping[float, np.ndarray]) -> claims.Claim:
  """Judges claim 24.

  Args:
    fid: FID by the rate of the moving average, float `[seeds, steps]`.
  """
  *smaller, chosen, largest = sorted(fid)
  best = {rate: claims.best_of_others(values) for rate, values in fid.items()}
  how = (
    "FID of the same training, with either rate at the step where the average of the other seeds "
    "is lowest"
  )
  return claims.Claim(
    24,
    "Moving averages that are too short or too long cost FID (Appendix G).",
    tuple(
      claims.paired(
        f"best FID with the rate {rate} minus that with {chosen}", best[rate], best[chosen], how
      )
      for rate in (smaller[0], largest)
    ),
  )
