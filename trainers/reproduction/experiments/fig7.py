"""Figure 7: the gradient noise scale of the objectives. Figures 6 and 13 use its trainings."""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib

import matplotlib.axes
import numpy as np

from iddpm_tf.training import noise_scale
from trainers.reproduction import claims
from trainers.reproduction import curves
from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import shared_tasks
from trainers.reproduction import tasks
from trainers.reproduction.experiments import base

HYBRID, UNIFORM, RESAMPLED = "L_hybrid", "L_vlb", "L_vlb (resampled)"
# The name of the trainings of each objective, and its flags.
OBJECTIVES: dict[str, tuple[str, tuple[str, ...]]] = {
  HYBRID: ("hybrid", ()),
  UNIFORM: ("vlb", ("--objective=vlb", "--timestep_sampler=uniform")),
  RESAMPLED: ("vlb_resampled", ("--objective=vlb", "--timestep_sampler=loss_second_moment")),
}
# The last part of training, over which the averages are taken. Importance sampling of t begins long
# before it.
_LAST = 0.4


@experiments.EXPERIMENTS.register("fig7")
class Figure7(base.Experiment):
  """The noise of the gradient in training, for each objective."""

  title = "Figure 7: gradient noise scales"
  claims = (7,)

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns an evaluation of bits/dim for each objective and seed."""
    return [nll(scale, objective, seed) for objective in OBJECTIVES for seed in scale.seeds]

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns the noise scales by the training step, and claim 7."""
    averages = {objective: estimates(scale, output, objective) for objective in OBJECTIVES}

    def draw(axis: matplotlib.axes.Axes) -> None:
      for objective in OBJECTIVES:
        steps, squared_norm, trace = curves.scalars(
          training(scale, objective, scale.seeds[0]).folder(output),
          "gradient_noise/squared_norm",
          "gradient_noise/trace_of_covariance",
        )
        ratio = np.where(squared_norm > 0, trace / squared_norm, np.nan)
        axis.plot(steps, ratio, label=objective)
      axis.set(xlabel="training step", ylabel="gradient noise scale (images)", yscale="log")
      axis.legend()

    rows = tuple(
      (
        objective,
        float(np.mean([estimate.squared_norm for estimate in by_seed])),
        float(np.mean([estimate.trace for estimate in by_seed])),
        ", ".join(map(_noise_scale_text, by_seed)),
      )
      for objective, by_seed in averages.items()
    )
    return sections.Section(
      f"Measured in training on {scale.likelihood_models.data}, with the cosine schedule and T = "
      f"{scale.noise_scale.diffusion_steps}, from the parts of each batch (--microbatches). The "
      "curves have no points where the estimate of |G|^2 is not positive.",
      figures=(
        sections.plot(
          draw, f"tr(Sigma) / |G|^2 in images, by the training step, seed {scale.seeds[0]}."
        ),
      ),
      tables=(
        sections.Table(
          ("objective", "|G|^2", "tr(Sigma)", "noise scale of each seed"),
          rows,
          f"Averages over the last {_LAST:.0%} of training. |G|^2 and tr(Sigma) are also averaged "
          "over the seeds.",
          digits=5,
        ),
      ),
      claims=(judge(averages),),
    )


def training(scale: scales.Scale, objective: str, seed: int) -> tasks.TrainingTask:
  """Returns the training that measures the noise of its gradient, with the cosine schedule.

  Args:
    scale: the scale.
    objective: one of `OBJECTIVES`.
    seed: the seed.
  """
  models, settings = scale.likelihood_models, scale.noise_scale
  name, flags = OBJECTIVES[objective]
  return tasks.TrainingTask(
    f"{models.name}_noise_{name}_seed{seed}",
    models.flagfile(scales.COSINE_HYBRID),
    (
      f"--diffusion_steps={settings.diffusion_steps}",
      *flags,
      *models.flags,
      f"--microbatches={settings.microbatches}",
      *settings.flags,
      f"--seed={seed}",
    ),
    settings.train_steps,
  )


def nll(scale: scales.Scale, objective: str, seed: int) -> tasks.EvaluationTask:
  """Returns the evaluation of bits/dim at the end of a training."""
  return shared_tasks.nll(scale, training(scale, objective, seed))


def estimates(
  scale: scales.Scale, output: pathlib.Path, objective: str
) -> list[noise_scale.Estimates]:
  """Returns |G|^2 and tr(Sigma), averaged over the last part of training, of each seed."""
  first_step = (1 - _LAST) * scale.noise_scale.train_steps
  folders = [training(scale, objective, seed).folder(output) for seed in scale.seeds]
  return [noise_scale.Estimates(*curves.noise_averages(folder, first_step)) for folder in folders]


def judge(averages: Mapping[str, Sequence[noise_scale.Estimates]]) -> claims.Claim:
  """Judges claim 7 by the estimates of each seed, by objective."""
  part = noisier(
    "the noise scale of L_vlb with uniform t, relative to that of L_hybrid",
    averages[UNIFORM],
    averages[HYBRID],
  )
  return claims.Claim(7, "The gradient of L_vlb is noisier than that of L_hybrid.", (part,))


def noisier(
  statement: str,
  first: Sequence[noise_scale.Estimates],
  second: Sequence[noise_scale.Estimates],
) -> claims.Part:
  """Returns the part of a claim that `first` has a larger noise scale than `second`.

  Args:
    statement: the quantity, in words.
    first: estimates of each seed.
    second: estimates of each seed.
  """
  how = (
    "the decimal logarithm of the ratio of the gradient noise scales, which are computed from "
    f"averages over the last {_LAST:.0%} of training"
  )
  ratios = []
  for pair in zip(first, second):
    numerator, denominator = map(noise_scale.simple_noise_scale, pair)
    if not numerator or not denominator:
      reason = "unknown, because noise hides the gradient of a seed (|G|^2 is not positive)"
      return claims.unknown(statement, f"{how}; {reason}")
    ratios.append(numerator / denominator)
  return claims.over_seeds(statement, np.log10(ratios), how)


def _noise_scale_text(estimate: noise_scale.Estimates) -> str:
  value = noise_scale.simple_noise_scale(estimate)
  return "none" if value is None else f"{value:.0f}"
