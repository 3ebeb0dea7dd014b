"""Tasks: the trainings, evaluations and samplings that experiments need, each one command.

A task's name says what it is, and is its place in the output folder. Experiments that need a task
of the same name share it.
"""

import abc
from collections.abc import Sequence
import dataclasses
import pathlib
import shlex
from typing import Any
from typing import ClassVar

import numpy as np

from iddpm_tf.evaluation import results_log
from iddpm_tf.models import model_dir
from iddpm_tf.utils import files
from trainers.reproduction import records


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
  """One command, whose results tell whether it is done.

  Attributes:
    name: the task's name, unique among all tasks.
    command: the command is `python -m trainers.COMMAND`.
  """

  name: str
  command: ClassVar[str]

  @property
  @abc.abstractmethod
  def trainings(self) -> tuple["TrainingTask", ...]:
    """The trainings that must be done before this task."""

  @abc.abstractmethod
  def folder(self, output: pathlib.Path) -> pathlib.Path:
    """Returns the folder of the task's results."""

  @abc.abstractmethod
  def arguments(self, output: pathlib.Path) -> tuple[str, ...]:
    """Returns the arguments of the command."""

  @abc.abstractmethod
  def record(self, output: pathlib.Path) -> list[str]:
    """Returns what distinguishes the task from other tasks of this name."""

  @abc.abstractmethod
  def has_results(self, output: pathlib.Path) -> bool:
    """Whether the folder holds all results of the task."""

  def is_done(self, output: pathlib.Path) -> bool:
    """Whether the results are there, and were made by this command from the models of today."""
    return (
      all(training.is_done(output) for training in self.trainings)
      and self.has_results(output)
      and records.read(output, self.name) == self.record(output)
    )


@dataclasses.dataclass(frozen=True)
class TrainingTask(Task):
  """A training.

  Attributes:
    flagfile: a flagfile of `configs/`.
    flags: flags that override it.
    train_steps: the last training step.
  """

  command: ClassVar[str] = "train"

  flagfile: str
  flags: tuple[str, ...]
  train_steps: int

  @property
  def trainings(self) -> tuple["TrainingTask", ...]:
    """None, because a training needs no other one."""
    return ()

  def folder(self, output: pathlib.Path) -> pathlib.Path:
    """Returns the model folder."""
    return output / "models" / self.name

  def arguments(self, output: pathlib.Path) -> tuple[str, ...]:
    """Returns the arguments of `trainers.train`."""
    return (
      f"--flagfile={self.flagfile}",
      *self.flags,
      f"--train_steps={self.train_steps}",
      f"--model_dir={self.folder(output)}",
    )

  def record(self, output: pathlib.Path) -> list[str]:
    """Returns the command, its flags and the last step."""
    del output  # Not used.
    return [self.command, self.flagfile, *self.flags, str(self.train_steps)]

  def has_results(self, output: pathlib.Path) -> bool:
    """Whether the model is trained to its last step."""
    return self.newest_step(output) >= self.train_steps

  def newest_step(self, output: pathlib.Path) -> int:
    """Returns the step of the newest checkpoint, or 0 where there is none."""
    return model_dir.ModelDir(self.folder(output)).newest_step()


@dataclasses.dataclass(frozen=True)
class _ModelTask(Task):
  """A task that needs a trained model.

  Attributes:
    training: the training of the model.
    flags: flags of the command.
    ensemble_with: the training of a second model, which takes the first and the last timesteps
      (Appendix D).
  """

  training: TrainingTask
  flags: tuple[str, ...]
  ensemble_with: TrainingTask | None = None

  @property
  def trainings(self) -> tuple[TrainingTask, ...]:
    """The trainings of the models."""
    return (self.training, self.ensemble_with) if self.ensemble_with else (self.training,)

  def folder(self, output: pathlib.Path) -> pathlib.Path:
    """Returns the folder of the results."""
    return output / "measurements" / self.name

  def arguments(self, output: pathlib.Path) -> tuple[str, ...]:
    """Returns the arguments of the command."""
    ensemble: tuple[str, ...] = ()
    if self.ensemble_with:
      ensemble = (f"--ensemble_dir={self.ensemble_with.folder(output)}",)
    return (
      f"--model_dir={self.training.folder(output)}",
      *ensemble,
      *self.flags,
      f"--output_dir={self.folder(output)}",
    )

  def record(self, output: pathlib.Path) -> list[str]:
    """Returns the command, its flags, and each model's training and step."""
    models = [
      f"{training.name} at step {training.newest_step(output)}: {' '.join(training.record(output))}"
      for training in self.trainings
    ]
    return [self.command, *self.flags, *models]

  def _samplers(self) -> list[str]:
    """Returns the names that results have for the samplers in the flags."""
    for flag in self.flags:
      name, _, texts = flag.partition("=")
      if name == "--samplers":
        return [result_name(text) for text in texts.split(",")]
    return []


class EvaluationTask(_ModelTask):
  """An evaluation of a model, or of an ensemble of two models."""

  command: ClassVar[str] = "evaluate"

  def has_results(self, output: pathlib.Path) -> bool:
    """Whether there are results for every sampler."""
    return set(self._samplers() or [""]) <= set(self.results(output))

  def results(self, output: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Returns the newest result for each sampler, of the model's newest checkpoint.

    Returns:
      `{name of the sampler: result}`. The name is empty for a likelihood, which has no sampler.
    """
    step = self.training.newest_step(output)
    return {
      result.get("sampler", ""): result
      for result in results_log.read(self.folder(output))
      if result.get("training_step") == step
    }

  def score(self, output: pathlib.Path, name: str, sampler: str = "") -> float:
    """Returns one score, such as "fid" by the sampler "ancestral_50"."""
    return self.results(output)[sampler]["scores"][name]

  def terms(self, output: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns the terms of the bound in bits/dim, float64 `[T]`, and their timesteps, int `[T]`."""
    # The result has the path that was written at the time. The folder may have been moved since.
    file = pathlib.Path(self.results(output)[""]["file"]).name
    content = files.read_json(self.folder(output) / file)
    return np.array(content["terms"]), np.array(content["timesteps"])


class SamplingTask(_ModelTask):
  """A grid of samples of a model, or of an ensemble of two models."""

  command: ClassVar[str] = "sample"

  def has_results(self, output: pathlib.Path) -> bool:
    """Whether the picture is there."""
    return self.picture(output).exists()

  def picture(self, output: pathlib.Path) -> pathlib.Path:
    """Returns the path of the grid, a PNG file named after the first sampler."""
    return self.folder(output) / f"{self._samplers()[0]}.png"


def result_name(sampler: str) -> str:
  """Returns the name in results and file names, `ancestral_50`, of a sampler `ancestral:50`."""
  from iddpm_tf.diffusion.samplers import base as samplers_lib

  return str(samplers_lib.parse(sampler))


def arguments(task: Task, output: pathlib.Path, data_flags: Sequence[str]) -> tuple[str, ...]:
  """Returns a task's arguments with `data_flags`, which say where the data is, if it reads data."""
  return *task.arguments(output), *(() if isinstance(task, SamplingTask) else data_flags)


def command_line(task: Task, output: pathlib.Path, data_flags: Sequence[str] = ()) -> str:
  """Returns a task's command as a person types it in a shell."""
  words = ("python", "-m", f"trainers.{task.command}", *arguments(task, output, data_flags))
  return shlex.join(words)
