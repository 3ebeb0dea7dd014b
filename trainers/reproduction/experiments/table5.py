"""Table 5 and Figure 12: images of two stages."""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
from typing import Any

import numpy as np

from trainers.reproduction import claims
from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import shared_tasks
from trainers.reproduction import tasks
from trainers.reproduction.experiments import base

_SINGLE, _TWO = "single-stage", "two-stage"
_PAPER: dict[str, float] = {
  "VQ-VAE-2 (Razavi et al., 2019), two-stage": 38.1,
  _SINGLE: 31.5,
  _TWO: 12.3,
  "BigGAN (Brock et al., 2018)": 7.7,
  "BigGAN-deep (Brock et al., 2018)": 7.0,
}
# The flagfiles of both stages by the name of the scale. Other scales have no pictures of two sizes.
_STAGES = {"small": ("configs/digits_4x4.flags", "configs/digits_upsampler.flags")}
_PAPERS_FLAGFILES = (
  "configs/imagenet256.flags, and imagenet64_class_conditional.flags with "
  "imagenet256_upsampler.flags"
)


@experiments.EXPERIMENTS.register("table5")
class Table5(base.Experiment):
  """FID of a model, and of two that draw small images and enlarge them."""

  title = "Table 5 and Figure 12: two stages"
  claims = (22,)

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns the evaluations of both, and samples of the two stages."""
    if scale.name not in _STAGES:
      return ()
    return [
      *(task for seed in scale.seeds for task in _evaluations(scale, seed).values()),
      _sampling(scale),
    ]

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns the paper's FID beside ours, samples, and claim 22."""
    fid: dict[str, np.ndarray] = {}
    figures: tuple[sections.Figure, ...] = ()
    about = f"Their flagfiles are {_PAPERS_FLAGFILES}. This scale has no pictures of two sizes."
    caption = "FID."
    if scale.name in _STAGES:
      fid = {
        name: np.array([_fid(scale, output, seed, name) for seed in scale.seeds])
        for name in (_SINGLE, _TWO)
      }
      about = (
        f"Ours are of {scale.fid_models.data}: the single stage and each of the two train for "
        f"{scale.fid_models.train_steps:,} steps. As in the paper, T = 4000, and the models of the "
        "large images have the linear schedule. FID is that of infinitely many samples by "
        f"{scale.fid.default_steps} steps for each stage."
      )
      evaluations = [_evaluations(scale, seed)[name] for seed in scale.seeds for name in fid]
      caption = f"FID. {shared_tasks.largest_error(evaluations, output)}"
      figures = tuple(
        sections.image_grid(picture, f"{content}, seed {scale.seeds[0]}.")
        for picture, content in zip(
          _sampling(scale).pictures(output),
          ("The images of the first stage", "The same images, enlarged by the second stage"),
          strict=True,
        )
      )
    rows: list[tuple[Any, ...]] = [
      (name, paper, float(fid[name].mean()) if name in fid else None)
      for name, paper in _PAPER.items()
    ]
    return sections.Section(
      f"The paper's models are of class-conditional ImageNet at 256x256. {about}",
      figures=figures,
      tables=(sections.Table(("model", "the paper's FID", "our FID"), tuple(rows), caption),),
      claims=(judge(fid),),
    )


def _stages(scale: scales.Scale, seed: int) -> list[tasks.TrainingTask]:
  """Returns the trainings of the small images, and of the model that enlarges them."""
  models = scale.fid_models
  return [
    tasks.TrainingTask(
      f"{models.name}_{stage}_stage_seed{seed}",
      flagfile,
      ("--diffusion_steps=4000", *models.flags, f"--seed={seed}"),
      models.train_steps,
    )
    for stage, flagfile in zip(("first", "second"), _STAGES[scale.name], strict=True)
  ]


def _evaluations(scale: scales.Scale, seed: int) -> dict[str, tasks.EvaluationTask]:
  """Returns the evaluations of FID of one seed."""
  single = scale.fid_models.training(scales.LINEAR_HYBRID, seed)
  first, second = _stages(scale, seed)
  sampler, flags = _sampler(scale), ("--fid_infinity",)
  return {
    _SINGLE: shared_tasks.fid(scale, "single_stage", single, [sampler], flags),
    _TWO: shared_tasks.fid(
      scale,
      "two_stages",
      first,
      [sampler],
      (f"--upsampler_sampler={sampler}", *flags),
      enlarged_by=second,
    ),
  }


def _fid(scale: scales.Scale, output: pathlib.Path, seed: int, name: str) -> float:
  sampler = tasks.result_name(_sampler(scale))
  return _evaluations(scale, seed)[name].score(output, "fid_infinity", sampler)


def _sampling(scale: scales.Scale) -> tasks.SamplingTask:
  first, second = _stages(scale, scale.seeds[0])
  return tasks.SamplingTask(
    f"{first.name}_samples",
    first,
    (f"--samplers={_sampler(scale)}", f"--upsampler_sampler={_sampler(scale)}", "--num_samples=36"),
    enlarged_by=second,
  )


def _sampler(scale: scales.Scale) -> str:
  return f"ancestral:{scale.fid.default_steps}"


def judge(fid: Mapping[str, np.ndarray]) -> claims.Claim:
  """Judges claim 22 by FID of each seed, or by nothing."""
  statement = "FID of a single stage minus that of two stages"
  how = "FID of infinitely many samples, of models of the same seed"
  part = (
    claims.paired(statement, fid[_SINGLE], fid[_TWO], how)
    if fid
    else claims.unknown(statement, "this scale has no pictures of two sizes")
  )
  return claims.Claim(22, "Two stages draw better images than a single one (Appendix C).", (part,))
