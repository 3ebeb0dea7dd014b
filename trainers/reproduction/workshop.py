"""Does tasks one after the other, in this process, so that TensorFlow is imported once."""

import gc
import json
import time
from typing import NamedTuple

import numpy as np

from iddpm_tf import atomic
from trainers import command
from trainers import evaluate
from trainers import sample
from trainers import train
from trainers.reproduction import tasks as tasks_lib

MODULES = {"train": train, "evaluate": evaluate, "sample": sample}


class Stopped(Exception):
  """A command ended with another status than 0; it has said why."""

  def __init__(self, status):
    super().__init__(f"exit status {status}")
    self.status = status


class Progress(NamedTuple):
  """Where it stands before a task."""
  number: int  # Of the task, from 1, among all that are needed.
  total: int
  seconds_left: float | None  # None: nothing has been timed yet.

  def __str__(self):
    left = "unknown" if self.seconds_left is None else f"about {_duration(self.seconds_left)}"
    return f"[{self.number}/{self.total}, time left: {left}]"


def run_command(name, arguments):
  """`python -m trainers.NAME` in this process; its status."""
  module = MODULES[name]
  status = command.run(module.main, module.Options, module.__doc__, [name, *arguments])
  _forget_graphs()
  return status


def needed(tasks):
  """All tasks that these take, each once: trainings before what measures them."""
  trainings = []
  for task in tasks:
    trainings += [task] if isinstance(task, tasks_lib.Run) else [task.run] + ([task.ends] if task.ends else [])
  return list(dict.fromkeys([*trainings, *tasks]))


class Workshop:
  """Does tasks, and remembers which are done."""

  def __init__(self, tasks, output, *, runner=run_command, data_flags=()):
    """Makes it.

    Args:
      tasks: all that are wanted, for the progress.
      output: the folder of everything.
      runner: `(command's name, arguments) -> status`.
      data_flags: flags of every training that say where its data is.

    Raises:
      ValueError: two tasks of one name.
    """
    _require_distinct(tasks)
    self._tasks, self._output, self._runner, self._data_flags = tasks, output, runner, data_flags
    self._done = set()

  def done(self, task):
    """Whether it is, by its files; what was done once is not looked at again."""
    if task not in self._done and task.done(self._output):
      self._done.add(task)
    return task in self._done

  def do(self, tasks):
    """Does what has not been done of `tasks`; `Stopped` if a command failed, or was stopped."""
    for task in tasks:
      if self.done(task):
        continue
      rest = [other for other in self._tasks if not self.done(other)]
      number = len(self._tasks) - len(rest) + 1
      print(f"{Progress(number, len(self._tasks), seconds_left(rest, self._output))} {task.name}", flush=True)
      start = time.monotonic()
      data_flags = self._data_flags if task.command == "train" else ()
      status = self._runner(task.command, (*task.arguments(self._output), *data_flags))
      if status:
        raise Stopped(status)
      _write_record(task, self._output, time.monotonic() - start)


def seconds_left(tasks, output):
  """The time that tasks take, of those like them, or of all that were done; None where none was."""
  known = tasks_lib.seconds_by_group(output)
  if not known:
    return None
  mean = np.mean(np.concatenate([*known.values()]))
  return float(sum(np.mean(known.get(tasks_lib.group(task.name), [mean])) for task in tasks))


def _require_distinct(tasks):
  names = {}
  for task in tasks:
    if names.setdefault((type(task), task.name), task) != task:
      raise ValueError(f"tasks: expected a name each, received two of {task.name}")


def _write_record(task, output, seconds):
  path = tasks_lib.record_path(task, output)
  path.parent.mkdir(parents=True, exist_ok=True)
  with atomic.whole(path) as temporary:
    temporary.write_text(json.dumps({"record": task.record(output), "seconds": seconds}) + "\n")


def _forget_graphs():
  """Of the networks of the task: dozens of them would fill the memory."""
  import keras
  keras.utils.clear_session()
  gc.collect()


def _duration(seconds):
  minutes = round(seconds / 60)
  return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min" if minutes else "1 min"
