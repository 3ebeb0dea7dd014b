"""Figures 30 and 31: samples of L_hybrid and of L_vlb from the same noise."""

from collections.abc import Sequence
import pathlib

from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import shared_tasks
from trainers.reproduction import tasks
from trainers.reproduction.experiments import base

_ROWS = (scales.COSINE_HYBRID, scales.COSINE_VLB)


@experiments.EXPERIMENTS.register("fig30")
class Figure30(base.Experiment):
  """Samples of two objectives, whose FID `section3` compares."""

  title = "Figures 30 and 31: samples of L_hybrid and of L_vlb"

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns the sampling of each model."""
    return [_sampling(scale, row) for row in _ROWS]

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns a grid for each model."""
    few = "" if scale.has_paper_models else f", T = {scale.noise_scale.diffusion_steps}"
    return sections.Section(
      f"Samples of models of {scale.fid_models.data}, with the cosine schedule{few}, from the same "
      f"noise, seed {scale.seeds[0]}.",
      figures=tuple(
        sections.image_grid(
          _sampling(scale, row).picture(output), f"L_{row.objective}: {scale.sampler}."
        )
        for row in _ROWS
      ),
    )


def _sampling(scale: scales.Scale, row: scales.Row) -> tasks.SamplingTask:
  return shared_tasks.sample_grid(
    scale, shared_tasks.all_steps_training(scale, row, scale.seeds[0])
  )
