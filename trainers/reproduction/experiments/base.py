"""The base class of experiments."""

import abc
from collections.abc import Sequence
import pathlib
from typing import ClassVar

from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import tasks


class Experiment(abc.ABC):
  """A table or figure of the paper.

  A subclass is registered in `experiments.EXPERIMENTS` under the name of its module. Importing the
  module must not import TensorFlow, so that wrong flags are reported at once.

  Attributes:
    title: the heading in the report.
    claims: the numbers of the claims that the experiment judges.
  """

  title: ClassVar[str]
  claims: ClassVar[tuple[int, ...]] = ()

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns the tasks whose results the experiment shows; none by default.

    The trainings of an evaluation need not be listed.
    """
    del scale  # Not used.
    return ()

  @abc.abstractmethod
  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns the experiment's section of the report.

    Args:
      scale: the scale.
      output: the output folder, with the results of all tasks that `needs` returns.
    """
