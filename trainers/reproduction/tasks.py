"""Tasks: the trainings, evaluations and samplings that experiments need, each one command.

A task's name says what it is, and is its place in the output folder. Experiments that need a task
of the same name share it.
"""

import abc
from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import math
import pathlib
import re
import shlex
from typing import Any
from typing import ClassVar

import numpy as np

from iddpm_tf.evaluation import results_log
from iddpm_tf.models import model_dir
from iddpm_tf.utils import files
from trainers.reproduction import records

_SAVE_EVERY = 10_000  # The steps between checkpoints of the paper's flagfiles.


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
      and _comparable(records.read(output, self.name)) == _comparable(self.record(output))
    )


def _comparable(record: list[str] | None) -> list[str]:
  """Returns a record without the parts of a batch.

  They are chosen by the memory of a device, and do not change what is measured.
  """
  words = [re.sub(r" ?--microbatches=\d+", "", word) for word in record or ()]
  return [word for word in words if word]


@dataclasses.dataclass(frozen=True)
class TrainingTask(Task):
  """A training.

  Attributes:
    flagfile: a flagfile of `configs/`.
    flags: flags that override it.
    train_steps: the last training step.
    kept_step: a step whose checkpoint is kept besides the newest ones; 0 for none.
  """

  command: ClassVar[str] = "train"

  flagfile: str
  flags: tuple[str, ...]
  train_steps: int
  kept_step: int = 0

  @property
  def trainings(self) -> tuple["TrainingTask", ...]:
    """None, because a training needs no other one."""
    return ()

  def folder(self, output: pathlib.Path) -> pathlib.Path:
    """Returns the model folder."""
    return output / "models" / self.name

  def arguments(self, output: pathlib.Path) -> tuple[str, ...]:
    """Returns the arguments of `trainers.train`."""
    kept: tuple[str, ...] = ()
    if self.kept_step:
      save_every = math.gcd(self.kept_step, _SAVE_EVERY)
      kept = (f"--save_every={save_every}", f"--keep_every={self.kept_step}")
    return (
      f"--flagfile={self.flagfile}",
      *self.flags,
      *kept,
      f"--train_steps={self.train_steps}",
      f"--model_dir={self.folder(output)}",
    )

  def model_flags(self, output: pathlib.Path) -> tuple[str, ...]:
    """Returns the flags of a command that takes the model."""
    return (f"--model_dir={self.folder(output)}",)

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
class MidTrainingTask(TrainingTask):
  """The model of another training in its middle, after `train_steps` steps.

  The other training keeps it as a checkpoint, so that nothing is left to do. Where there is no such
  checkpoint, as in a folder of an earlier version, the task trains a model up to this step. It is
  the same model, because no setting depends on the number of training steps.

  Attributes:
    whole: the other training.
  """

  whole: TrainingTask = dataclasses.field(kw_only=True)

  @property
  def trainings(self) -> tuple[TrainingTask, ...]:
    """The other training."""
    return (self.whole,)

  def is_kept(self, output: pathlib.Path) -> bool:
    """Whether the other training has the checkpoint."""
    checkpoints = model_dir.ModelDir(self.whole.folder(output)).checkpoints
    return self.train_steps in model_dir.ModelDir.checkpoint_steps(checkpoints)

  def is_done(self, output: pathlib.Path) -> bool:
    """Whether the model is there: of the other training, or trained by this task."""
    if self.is_kept(output):
      return self.whole.is_done(output)
    return super().is_done(output)

  def folder(self, output: pathlib.Path) -> pathlib.Path:
    """Returns the model folder."""
    return self.whole.folder(output) if self.is_kept(output) else super().folder(output)

  def newest_step(self, output: pathlib.Path) -> int:
    """Returns the step of the model, or the newest one on the way to it."""
    return self.train_steps if self.is_kept(output) else super().newest_step(output)

  def model_flags(self, output: pathlib.Path) -> tuple[str, ...]:
    """Returns the flags of a command that takes the model."""
    step = (f"--step={self.train_steps}",) if self.is_kept(output) else ()
    return (*super().model_flags(output), *step)


@dataclasses.dataclass(frozen=True)
class _ModelTask(Task):
  """A task that needs a trained model.

  Attributes:
    training: the training of the model.
    flags: flags of the command.
    ensemble_with: the training of a second model, which takes the first and the last timesteps
      (Appendix D).
    enlarged_by: the training of a second model, which enlarges the images of the first (Appendix
      C).
  """

  training: TrainingTask
  flags: tuple[str, ...]
  ensemble_with: TrainingTask | None = None
  enlarged_by: TrainingTask | None = None

  @property
  def trainings(self) -> tuple[TrainingTask, ...]:
    """The trainings of the models."""
    return tuple(filter(None, (self.training, self.ensemble_with, self.enlarged_by)))

  def folder(self, output: pathlib.Path) -> pathlib.Path:
    """Returns the folder of the results."""
    return output / "measurements" / self.name

  def arguments(self, output: pathlib.Path) -> tuple[str, ...]:
    """Returns the arguments of the command."""
    second: tuple[str, ...] = ()
    if self.ensemble_with:
      second = (f"--ensemble_dir={self.ensemble_with.folder(output)}",)
    if self.enlarged_by:
      second = (*second, f"--upsampler_dir={self.enlarged_by.folder(output)}")
    return (
      *self.training.model_flags(output),
      *second,
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

  def _samplers(self, flag: str = "--samplers") -> list[str]:
    """Returns the names that results have for the samplers of a flag."""
    for argument in self.flags:
      name, _, texts = argument.partition("=")
      if name == flag:
        return [result_name(text) for text in texts.split(",")]
    return []


class EvaluationTask(_ModelTask):
  """An evaluation of a model, or of two models that work together."""

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

  def scores(self, output: pathlib.Path, name: str) -> dict[str, float]:
    """Returns one score by each sampler of the task, as `{name of the sampler: score}`."""
    return {sampler: self.score(output, name, sampler) for sampler in self._samplers()}

  def terms(self, output: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns the terms of the bound in bits/dim, float64 `[T]`, and their timesteps, int `[T]`."""
    # The result has the path that was written at the time. The folder may have been moved since.
    file = pathlib.Path(self.results(output)[""]["file"]).name
    content = files.read_json(self.folder(output) / file)
    return np.array(content["terms"]), np.array(content["timesteps"])


class SamplingTask(_ModelTask):
  """Grids of samples of a model, or of two that work together, one for each sampler."""

  command: ClassVar[str] = "sample"

  def has_results(self, output: pathlib.Path) -> bool:
    """Whether the pictures are there."""
    return all(picture.exists() for picture in self.pictures(output))

  def picture(self, output: pathlib.Path) -> pathlib.Path:
    """Returns the path of the first sampler's grid."""
    return self.pictures(output)[0]

  def pictures(self, output: pathlib.Path) -> list[pathlib.Path]:
    """Returns the paths of the grids, PNG files named after their samplers.

    The grid of enlarged images follows that of the images before.
    """
    names = self._samplers()
    for second in self._samplers("--upsampler_sampler"):
      names = [each for name in names for each in (name, f"{name}_upsampled_{second}")]
    return [self.folder(output) / f"{name}.png" for name in names]


def result_name(sampler: str) -> str:
  """Returns the name in results and file names, `ancestral_50`, of a sampler `ancestral:50`."""
  from iddpm_tf.diffusion.samplers import base as samplers_lib

  return str(samplers_lib.parse(sampler))


def arguments(task: Task, output: pathlib.Path, data_flags: Sequence[str]) -> tuple[str, ...]:
  """Returns a task's arguments with `data_flags`, which say where the data is, if it reads data."""
  return *task.arguments(output), *(() if isinstance(task, SamplingTask) else data_flags)


def with_commands(tasks: Iterable[Task], output: pathlib.Path) -> list[Task]:
  """Returns the tasks that have a command to run: a model in mid-training that is kept has none."""
  return [
    task for task in tasks if not (isinstance(task, MidTrainingTask) and task.is_kept(output))
  ]


def command_line(task: Task, output: pathlib.Path, data_flags: Sequence[str] = ()) -> str:
  """Returns a task's command as a person types it in a shell."""
  words = ("python", "-m", f"trainers.{task.command}", *arguments(task, output, data_flags))
  return shlex.join(words)
