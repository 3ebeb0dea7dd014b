"""Table 1: the experiment of Table 2 on ImageNet-64."""

from collections.abc import Sequence
import pathlib

from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import tasks
from trainers.reproduction.experiments import base
from trainers.reproduction.experiments import table2

_PAPER = table2.PaperTable(
  "ImageNet-64",
  nll=(3.99, 3.77, 3.66, 3.68, 3.62, 3.57),
  fid=(32.5, 31.3, 32.2, 27.0, 28.0, 56.7),
)


@experiments.EXPERIMENTS.register("table1")
class Table1(base.Experiment):
  """The models of Table 2 beside the paper's numbers of Table 1."""

  title = "Table 1: schedule and objective on ImageNet-64 (200K iterations)"
  claims = table2.CLAIMS

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns the tasks of Table 2."""
    return table2.Table2().needs(scale)

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns the paper's numbers beside ours, samples, and claims 1, 4 and 5."""
    return table2.section(scale, output, _PAPER)
