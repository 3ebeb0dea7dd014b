"""Tasks in their order, several at once where there are workers; what is done, and the time left."""

import json
import time
from typing import NamedTuple

import numpy as np

from iddpm_tf.utils import files
from trainers.reproduction import tasks as tasks_lib


class Failed(Exception):
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


def needed(tasks):
  """All tasks that these take, each once: trainings before what measures them."""
  trainings = [model for task in tasks for model in task.models or (task,)]
  return list(dict.fromkeys([*trainings, *tasks]))


class Workshop:
  """Gives tasks out, and remembers which are done."""

  def __init__(self, tasks, output, *, data_flags=()):
    """Makes it.

    Args:
      tasks: all that are wanted, in order.
      output: the folder of everything.
      data_flags: flags that say where the data is, of every command that reads it.

    Raises:
      ValueError: two tasks of one name.
    """
    _require_distinct(tasks)
    self._tasks, self._output, self._data_flags = tasks, output, data_flags
    self._done, self._begun = set(), {}

  def done(self, task):
    """Whether it is, by its files; what was done once is not looked at again."""
    if task not in self._done and task.done(self._output):
      self._done.add(task)
    return task in self._done

  def work(self, hands):
    """Does what has not been done; yields each task once it is. `Failed` if a command failed, or was stopped.

    Args:
      hands: `workers.Here` or `workers.Workers`.
    """
    while True:
      while len(self._begun) < hands.count and (task := self._next()):
        self._say(task, hands)
        # A training that goes on says nothing of how long one takes.
        self._begun[task] = time.monotonic(), not task.models and task.step(self._output) > 0
        hands.start(task, tasks_lib.arguments(task, self._output, self._data_flags))
      if not self._begun:
        return
      task, status = hands.wait()
      if status:
        raise Failed(status)
      start, resumed = self._begun.pop(task)
      _write_record(task, self._output, time.monotonic() - start, resumed)
      if not self.done(task):
        raise ValueError(
          f"{task.name}: expected results in {task.folder(self._output)}, received none of this command"
        )
      yield task

  def _next(self):
    """The first task that can begin; None if there is none."""
    return next(
      (
        task
        for task in self._tasks
        if task not in self._begun and not self.done(task) and all(map(self.done, task.models))
      ),
      None,
    )

  def _say(self, task, hands):
    rest = [other for other in self._tasks if not self.done(other)]
    number = len(self._tasks) - len(rest) + len(self._begun) + 1
    print(
      f"{Progress(number, len(self._tasks), seconds_left(rest, self._output, hands.count))} {task.name}",
      flush=True,
    )


def seconds_left(tasks, output, workers=1):
  """The time that tasks take, by those like them, or by all of their command, or by all; None where none was done."""
  known = tasks_lib.seconds_by_group(output)
  if not known:
    return None

  def expected(task):
    same = known.get((task.command, tasks_lib.group(task.name)))
    of_command = [
      seconds
      for (command, _), times in known.items()
      if command == task.command
      for seconds in times
    ]
    return np.mean(same or of_command or np.concatenate([*known.values()]))

  return float(sum(map(expected, tasks))) / workers


def _require_distinct(tasks):
  names = {}
  for task in tasks:
    if names.setdefault((type(task), task.name), task) != task:
      raise ValueError(f"tasks: expected a name each, received two of {task.name}")


def _write_record(task, output, seconds, resumed):
  path = tasks_lib.record_path(task, output)
  path.parent.mkdir(parents=True, exist_ok=True)
  with files.whole(path) as temporary:
    temporary.write_text(
      json.dumps({"record": task.record(output), "seconds": seconds, "resumed": resumed}) + "\n"
    )


def _duration(seconds):
  minutes = round(seconds / 60)
  return (
    f"{minutes // 60} h {minutes % 60:02d} min"
    if minutes >= 60
    else f"{minutes} min"
    if minutes
    else "1 min"
  )
