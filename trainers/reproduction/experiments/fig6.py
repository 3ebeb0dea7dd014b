"""Figure 6: learning curves of the objectives."""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib

import matplotlib.axes
import numpy as np

from iddpm_tf.models import model_dir
from iddpm_tf.training import noise_scale
from trainers.reproduction import claims
from trainers.reproduction import curves
from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import tasks
from trainers.reproduction.experiments import base
from trainers.reproduction.experiments import fig7


@experiments.EXPERIMENTS.register("fig6")
class Figure6(base.Experiment):
  """L_vlb in the trainings of Figure 7, and the bits/dim at their ends."""

  title = "Figure 6: learning curves of the objectives"
  claims = (8,)

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns the evaluations of bits/dim. Their trainings are those of Figure 7."""
    return [task for of_seeds in _nll(scale).values() for task in of_seeds]

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns the learning curves, and claim 8."""
    nll = {
      objective: [task.score(output, "nll") for task in evaluations]
      for objective, evaluations in _nll(scale).items()
    }

    def draw(axis: matplotlib.axes.Axes) -> None:
      for objective in fig7.OBJECTIVES:
        folder = fig7.training(scale, objective, scale.seeds[0]).folder(output)
        axis.plot(*_vlb_curve(folder), label=objective)
      axis.set(xlabel="training step", ylabel="training log loss (bits/dim)", yscale="log")
      axis.legend()

    rows = tuple(
      (objective, float(np.mean(values)), ", ".join(f"{value:.3f}" for value in values))
      for objective, values in nll.items()
    )
    return sections.Section(
      f"Trained on {scale.likelihood_models.data} with the cosine schedule, T = "
      f"{scale.noise_scale.diffusion_steps}, for {scale.noise_scale.train_steps:,} steps. "
      "Importance sampling of t begins when every timestep has ten losses.",
      figures=(
        sections.plot(
          draw,
          f"L_vlb in training, weighted as if t were drawn uniformly, seed {scale.seeds[0]}.",
        ),
      ),
      tables=(
        sections.Table(
          ("objective", "our NLL", "of each seed"),
          rows,
          "NLL (bits/dim) of the test images at the end of training, averaged over the seeds of "
          "the row.",
        ),
      ),
      claims=(
        judge(
          fig7.estimates(scale, output, fig7.UNIFORM),
          fig7.estimates(scale, output, fig7.RESAMPLED),
          nll,
        ),
      ),
    )


def _nll(scale: scales.Scale) -> dict[str, list[tasks.EvaluationTask]]:
  """Returns the evaluations of bits/dim of each seed, by objective.

  L_vlb without resampling is so much worse than the others that few seeds are enough.
  """
  return {
    objective: [
      fig7.nll(scale, objective, seed)
      for seed in (scale.seeds if objective == fig7.UNIFORM else scale.seeds_of(8))
    ]
    for objective in fig7.OBJECTIVES
  }


def _vlb_curve(folder: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
  """Returns the steps and L_vlb in bits/dim, without the weight that it has in the objective."""
  from iddpm_tf.diffusion import losses

  steps, loss = curves.scalars(folder, "loss/vlb")
  config = model_dir.ModelDir(folder).require_config()
  return steps, loss / losses.vlb_weight(config.diffusion)


def judge(
  uniform: Sequence[noise_scale.Estimates],
  resampled: Sequence[noise_scale.Estimates],
  nll: Mapping[str, Sequence[float]],
) -> claims.Claim:
  """Judges claim 8.

  Args:
    uniform: the gradient's estimates of each seed, where t is drawn uniformly.
    resampled: the same, where t is resampled.
    nll: bits/dim of each seed, by objective. Uniform t may have fewer seeds than the others.
  """
  how = "the difference in bits/dim between models of the same seed"
  return claims.Claim(
    8,
    "Resampling lowers the noise of L_vlb and gives the best NLL.",
    (
      fig7.noisier(
        "the noise scale of L_vlb with uniform t, relative to that of L_vlb resampled",
        uniform,
        resampled,
      ),
      *(
        claims.paired(
          f"{name} minus L_vlb resampled",
          nll[name],
          nll[fig7.RESAMPLED][: len(nll[name])],
          how,
        )
        for name in (fig7.HYBRID, fig7.UNIFORM)
      ),
    ),
  )
