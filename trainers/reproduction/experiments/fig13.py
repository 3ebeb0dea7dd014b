"""Figures 13 and 14: models of L_hybrid and L_vlb by timestep, and their ensemble."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
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
from trainers.reproduction.experiments import fig7

_HYBRID, _VLB, _ENSEMBLE = "L_hybrid", "L_vlb", "ensemble"
# NLL and FID on ImageNet-64, from Table 1 and Appendix D.
_PAPER = {_HYBRID: (3.57, 19.2), _VLB: (3.53, 40.1), _ENSEMBLE: (3.52, 19.9)}
# The model of L_vlb takes T / 40 timesteps at each end: 100 of 4000 in the paper.
_END_DIVISOR = 40
_WINDOWS = 50  # The ratio of the terms is averaged in windows, because few images are noisy.


@experiments.EXPERIMENTS.register("fig13")
class Figure13(base.Experiment):
  """The bound's terms of two models and of their ensemble, and samples of each."""

  title = "Figures 13 and 14: models of L_hybrid and L_vlb, and their ensemble"
  claims = (11,)

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns the bounds of each seed, samples of the first seed, and FID if there are features."""
    likelihoods = [
      evaluation for seed in scale.seeds for evaluation in _likelihoods(scale, seed).values()
    ]
    return [*likelihoods, *_grids(scale).values(), *_fids(scale).values()]

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns the ratio of the terms, samples and scores of the three, and claim 11."""
    seed, steps = scale.seeds[0], scale.noise_scale.diffusion_steps
    by_seed = [_likelihoods(scale, seed) for seed in scale.seeds]
    nll = {name: [models[name].score(output, "nll") for models in by_seed] for name in _PAPER}
    windows = {
      name: by_seed[0][name].terms(output)[0].reshape(_WINDOWS, -1).mean(axis=1)
      for name in (_HYBRID, _VLB)
    }

    def draw(axis: matplotlib.axes.Axes) -> None:
      timesteps = (np.arange(_WINDOWS) + 0.5) * steps / _WINDOWS
      axis.plot(timesteps, windows[_HYBRID] / windows[_VLB])
      axis.axhline(1, color="0.4", linewidth=0.8)
      axis.set(xlabel="diffusion step (t)", ylabel="L_t(hybrid) / L_t(vlb)")

    ratio = sections.plot(
      draw,
      f"The ratio of the terms of the bound, seed {seed}. Each point is the average over "
      f"{steps // _WINDOWS} timesteps.",
    )
    grids = [
      sections.image_grid(task.picture(output), f"{name}: samples from the same noise.")
      for name, task in _grids(scale).items()
    ]
    return sections.Section(
      f"Models trained on {scale.likelihood_models.data} with the cosine schedule, T = {steps:,}. "
      "Where the ratio is below 1, the model of L_hybrid is better. The ensemble uses the model of "
      f"L_vlb for the first and the last {_end_steps(scale)} of {steps:,} timesteps (in the paper, "
      f"100 of 4,000).{_about_models(scale)}",
      figures=(ratio, *grids),
      tables=(_table(scale, output, nll),),
      claims=(judge(nll),),
    )


def parents(scale: scales.Scale, seed: int) -> tuple[tasks.TrainingTask, tasks.TrainingTask]:
  """Returns the trainings of the models of L_hybrid and of L_vlb."""
  if scale.has_paper_models:
    models = scale.likelihood_models
    return models.training(scales.COSINE_HYBRID, seed), models.training(scales.COSINE_VLB, seed)
  # The trainings of the tables are too short for importance sampling to begin at T = 4000.
  return fig7.training(scale, fig7.HYBRID, seed), fig7.training(scale, fig7.RESAMPLED, seed)


def _about_models(scale: scales.Scale) -> str:
  if scale.has_paper_models:
    return ""
  return (
    " The models are those of Figure 7, because the L_vlb model of Table 2 is trained too briefly "
    "here for its importance sampling to begin."
  )


def _end_steps(scale: scales.Scale) -> int:
  """Returns the timesteps at each end that the model of L_vlb takes."""
  return scale.noise_scale.diffusion_steps // _END_DIVISOR


def _ensemble_flag(scale: scales.Scale) -> str:
  return f"--ensemble_steps={_end_steps(scale)}"


def _likelihoods(scale: scales.Scale, seed: int) -> dict[str, tasks.EvaluationTask]:
  """Returns every term of the bound of each model, with the same images and the same noise."""
  hybrid, vlb = parents(scale, seed)
  flags = scale.likelihood.ensemble_flags
  return {
    _HYBRID: shared_tasks.evaluation("parent_terms", hybrid, flags),
    _VLB: shared_tasks.evaluation("parent_terms", vlb, flags),
    _ENSEMBLE: shared_tasks.evaluation(
      "ensemble_nll", hybrid, (_ensemble_flag(scale), *flags), ensemble_with=vlb
    ),
  }


def _fids(scale: scales.Scale) -> dict[str, tasks.EvaluationTask]:
  """Returns the FID of each model of the first seed; none without a feature extractor."""
  if not scale.fid.features:
    return {}
  hybrid, vlb = parents(scale, scale.seeds[0])
  ensemble = shared_tasks.fid(scale, "ensemble", hybrid, [scale.sampler])
  return {
    _HYBRID: shared_tasks.fid(scale, "parent", hybrid, [scale.sampler]),
    _VLB: shared_tasks.fid(scale, "parent", vlb, [scale.sampler]),
    _ENSEMBLE: dataclasses.replace(
      ensemble, flags=(_ensemble_flag(scale), *ensemble.flags), ensemble_with=vlb
    ),
  }


def _grids(scale: scales.Scale) -> dict[str, tasks.SamplingTask]:
  """Samples of each model of the first seed."""
  hybrid, vlb = parents(scale, scale.seeds[0])
  flags = (_ensemble_flag(scale), *shared_tasks.grid_flags(scale))
  return {
    _VLB: shared_tasks.sample_grid(scale, vlb),
    _HYBRID: shared_tasks.sample_grid(scale, hybrid),
    _ENSEMBLE: tasks.SamplingTask(f"{hybrid.name}_ensemble_samples", hybrid, flags, vlb),
  }


def _table(
  scale: scales.Scale, output: pathlib.Path, nll: Mapping[str, Sequence[float]]
) -> sections.Table:
  """Returns the paper's NLL and FID of each model beside ours."""
  sampler = tasks.result_name(scale.sampler)
  fid = {name: task.score(output, "fid", sampler) for name, task in _fids(scale).items()}
  rows = tuple(
    (
      name,
      *paper,
      float(np.mean(nll[name])),
      ", ".join(f"{value:.3f}" for value in nll[name]),
      fid.get(name),
    )
    for name, paper in _PAPER.items()
  )
  columns = (
    "model",
    "the paper's NLL (ImageNet-64, 1.5M)",
    "its FID",
    "our NLL",
    "of each seed",
    "our FID",
  )
  return sections.Table(
    columns,
    rows,
    "NLL (bits/dim), averaged over the seeds. "
    + (f"FID is that of seed {scale.seeds[0]}." if fid else "FID is not evaluated at this scale."),
  )


def judge(nll: Mapping[str, Sequence[float]]) -> claims.Claim:
  """Judges claim 11 by the bits/dim of each seed, by model."""
  how = (
    "the bits/dim of the parent minus those of the ensemble, with the same images and noise, for "
    "models of the same seed"
  )
  return claims.Claim(
    11,
    "The ensemble has a better NLL than both of its parents.",
    tuple(
      claims.paired(f"{name} minus the ensemble", nll[name], nll[_ENSEMBLE], how)
      for name in (_HYBRID, _VLB)
    ),
  )
