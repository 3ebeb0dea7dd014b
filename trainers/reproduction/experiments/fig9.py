"""Figure 9: samples of a class-conditional model, by class."""

from collections.abc import Sequence
import pathlib

from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import tasks
from trainers.reproduction.experiments import base
from trainers.reproduction.experiments import table4

# The scales whose models have classes.
_WITH_CLASSES = ("small", "imagenet64")
_CLASSES, _OF_EACH = 8, 8


@experiments.EXPERIMENTS.register("fig9")
class Figure9(base.Experiment):
  """Samples of the larger model of Table 4."""

  title = "Figure 9: samples by class"

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns the sampling."""
    return [_sampling(scale)]

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns the samples."""
    rows = (
      f" Each row is a class, from number 0 to {_CLASSES - 1}. The paper's classes are others."
      if scale.name in _WITH_CLASSES
      else ""
    )
    return sections.Section(
      f"Samples of the larger model of Table 4, of {scale.fid_models.data}, by "
      f"{scale.fid.default_steps} steps, seed {scale.seeds[0]}. In the paper, each class is "
      "diverse.",
      figures=(sections.image_grid(_sampling(scale).picture(output), f"Samples.{rows}"),),
    )


def _sampling(scale: scales.Scale) -> tasks.SamplingTask:
  training = table4.training(scale, "large", scale.seeds[0])
  labels: tuple[str, ...] = ()
  if scale.name in _WITH_CLASSES:
    labels = (f"--labels={','.join(map(str, range(_CLASSES)))}",)
  return tasks.SamplingTask(
    f"{training.name}_samples_by_class",
    training,
    (
      f"--samplers=ancestral:{scale.fid.default_steps}",
      *labels,
      f"--num_samples={_CLASSES * _OF_EACH}",
    ),
  )
