"""Figures 18 to 29: samples by the number of sampling steps."""

from collections.abc import Sequence
import pathlib

from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import tasks
from trainers.reproduction.experiments import base


@experiments.EXPERIMENTS.register("fig18")
class Figure18(base.Experiment):
  """Samples of one model with few and with many steps."""

  title = "Figures 18 to 29: samples by the number of sampling steps"

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns the sampling by all numbers of steps."""
    return [_sampling(scale)]

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns a grid for each number of steps."""
    pictures = _sampling(scale).pictures(output)
    return sections.Section(
      f"Samples of the model of L_hybrid of {scale.fid_models.data}, with the cosine schedule and "
      f"T = 4000, seed {scale.seeds[0]}. The same place has the same noise in all grids.",
      figures=tuple(
        sections.image_grid(picture, f"{steps:,} sampling steps.")
        for steps, picture in zip(_num_steps(scale), pictures, strict=True)
      ),
    )


def _num_steps(scale: scales.Scale) -> list[int]:
  return sorted({*scale.fid.num_steps, scale.fid.most_steps})


def _sampling(scale: scales.Scale) -> tasks.SamplingTask:
  training = scale.fid_models.training(scales.COSINE_HYBRID, scale.seeds[0])
  samplers = ",".join(f"ancestral:{steps}" for steps in _num_steps(scale))
  return tasks.SamplingTask(
    f"{training.name}_samples_by_steps", training, (f"--samplers={samplers}", "--num_samples=36")
  )
