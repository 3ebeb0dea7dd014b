"""What an experiment needs: trainings and measurements, each one exact command line.

A task's name says what it is and is its place in the output folder, so experiments that name the same task share it.
"""

import json
import pathlib
import re
import shlex
from typing import NamedTuple

import numpy as np

from iddpm_tf.diffusion import samplers as samplers_lib
from iddpm_tf.evaluation import results_log as results


class Run(NamedTuple):
  """A training: a flagfile of configs/ and what overrides it."""

  name: str
  flagfile: str
  flags: tuple[str, ...]
  train_steps: int

  command = "train"
  models = ()  # What is to be trained before.

  def folder(self, output):
    """The model folder."""
    return pathlib.Path(output) / "models" / self.name

  def arguments(self, output):
    """Of `python -m trainers.train`."""
    return (
      f"--flagfile={self.flagfile}",
      *self.flags,
      f"--train_steps={self.train_steps}",
      f"--model_dir={self.folder(output)}",
    )

  def done(self, output):
    """Whether it was trained to its last step, by these flags; `trainers.train` refuses a folder of others."""
    return self.step(output) >= self.train_steps and read_record(self, output) == self.record(
      output
    )

  def step(self, output):
    """That of the newest checkpoint; 0 where there is none."""
    return max(
      (
        int(path.stem.rsplit("-", 1)[1])
        for path in (self.folder(output) / "checkpoints").glob("step-*.index")
      ),
      default=0,
    )

  def record(self, output):
    """What tells it from another task of the same name."""
    del output
    return [self.command, self.flagfile, *self.flags, str(self.train_steps)]


class Measurement(NamedTuple):
  """Scores (`trainers.evaluate`) or images (`trainers.sample`) of a run, or of two as one (Appendix D)."""

  name: str
  run: Run
  flags: tuple[str, ...]
  ends: Run | None = None  # What takes the first and the last timesteps.
  command: str = "evaluate"

  @property
  def models(self):
    """The `Run`s that it is of."""
    return (self.run, self.ends) if self.ends else (self.run,)

  def folder(self, output):
    """Where results go."""
    return pathlib.Path(output) / "measurements" / self.name

  def arguments(self, output):
    """Of `python -m trainers.COMMAND`."""
    ends = (f"--ensemble_dir={self.ends.folder(output)}",) if self.ends else ()
    return (
      f"--model_dir={self.run.folder(output)}",
      *ends,
      *self.flags,
      f"--output_dir={self.folder(output)}",
    )

  def done(self, output):
    """Whether it was made of the models as they are."""
    if not all(model.done(output) for model in self.models) or read_record(
      self, output
    ) != self.record(output):
      return False
    if self.command == "sample":
      return self.picture(output).exists()
    return set(self._samplers) <= set(self.lines(output))

  def record(self, output):
    """What tells it from another task of the same name, and from itself of other weights."""
    return [
      self.command,
      *self.flags,
      *(
        f"{model.name} at step {model.step(output)}: {' '.join(model.record(output))}"
        for model in self.models
      ),
    ]

  def lines(self, output):
    """Its results by the name of the sampler ("" for a likelihood): the newest line of each."""
    return {
      line.get("sampler", ""): line
      for line in results.read(self.folder(output))
      if line.get("training_step") == self.run.step(output)
    }

  def score(self, output, name, sampler=""):
    """One number of its results."""
    return self.lines(output)[sampler]["scores"][name]

  def terms(self, output):
    """Terms of the bound, bits/dim: float64 [T], and the timesteps, int [T]."""
    path = self.folder(output) / pathlib.Path(self.lines(output)[""]["file"]).name
    content = json.loads(path.read_text())
    return np.array(content["terms"]), np.array(content["timesteps"])

  def picture(self, output):
    """Path of the grid of images, by the first sampler."""
    return self.folder(output) / f"{self._samplers[0]}.png"

  @property
  def _samplers(self):
    """Names of --samplers; that of a likelihood is empty."""
    given = [
      flag.partition("=")[2].split(",") for flag in self.flags if flag.startswith("--samplers=")
    ]
    return [str(samplers_lib.SamplerSpec.parse(text)) for text in given[0]] if given else [""]


def group(name):
  """The name of a task without its seed: tasks of a group take about as long."""
  return re.sub(r"_seed\d+", "", name)


def record_path(task, output):
  """Of the file that says that a task is done."""
  return pathlib.Path(output) / "done" / f"{task.name}.json"


def read_record(task, output):
  """What is recorded of a task, as a list of strings; None where nothing, or nothing legible, is."""
  return _content(record_path(task, output)).get("record")


def seconds_by_group(output):
  """How long the tasks took that were done so far, from their beginning: {(command, group): [seconds]}."""
  found = {}
  for path in sorted((pathlib.Path(output) / "done").glob("*.json")):
    content = _content(path)
    if isinstance(seconds := content.get("seconds"), float) and not content.get("resumed"):
      found.setdefault(((content.get("record") or [""])[0], group(path.stem)), []).append(seconds)
  return found


def _content(path):
  try:
    content = json.loads(path.read_text())
  except (OSError, ValueError):
    return {}
  return content if isinstance(content, dict) else {}


def arguments(task, output, data_flags):
  """Of its command; `data_flags` say where the data is, of commands that read it."""
  return *task.arguments(output), *(() if task.command == "sample" else data_flags)


def shown(task, output, data_flags=()):
  """The command, as a person types it."""
  return shlex.join(
    ["python", "-m", f"trainers.{task.command}", *arguments(task, output, data_flags)]
  )
