"""The scheduler: starts tasks in their order, several at once where the executor allows it."""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import pathlib
import time

import numpy as np

from trainers.reproduction import executors
from trainers.reproduction import records
from trainers.reproduction import tasks as tasks_lib


class TaskFailed(Exception):
  """A command ended with an exit status other than 0. It has printed the reason."""

  def __init__(self, status: int):
    super().__init__(f"exit status {status}")
    self.status = status


def with_trainings(tasks: Iterable[tasks_lib.Task]) -> list[tasks_lib.Task]:
  """Returns tasks and the trainings that they need, each once, all trainings first."""
  needed: dict[tasks_lib.Task, None] = {}

  def add(task: tasks_lib.Task) -> None:
    for training in task.trainings:  # A model in mid-training comes from another training.
      add(training)
    needed[task] = None

  for task in tasks:
    add(task)
  return sorted(needed, key=lambda task: not isinstance(task, tasks_lib.TrainingTask))


class Scheduler:
  """Runs the tasks that are not done yet."""

  def __init__(
    self,
    tasks: Sequence[tasks_lib.Task],
    output: pathlib.Path,
    *,
    data_flags: Sequence[str] = (),
  ):
    """Makes the scheduler.

    Args:
      tasks: all tasks, in their order.
      output: the output folder.
      data_flags: flags that say where the data is, for the commands that read it.

    Raises:
      ValueError: two tasks have the same name.
    """
    _require_distinct(tasks)
    self._tasks, self._output, self._data_flags = tasks, output, data_flags
    # Reading the files of all tasks after each one would take longer and longer.
    self._done = {task for task in tasks if task.is_done(output)}
    # Models in mid-training that other trainings leave, so that nothing is to be run for them.
    self._left_by_others = {
      task
      for task in tasks
      if isinstance(task, tasks_lib.MidTrainingTask)
      and (task.is_kept(output) or not task.whole.is_done(output))
    }
    # The start time of each running task, and whether it resumes an unfinished training.
    self._running: dict[tasks_lib.Task, tuple[float, bool]] = {}

  def is_done(self, task: tasks_lib.Task) -> bool:
    """Whether a task was done when the scheduler was made, or has finished since."""
    return task in self._done

  def unfinished(self) -> list[tasks_lib.Task]:
    """Returns the tasks that are still to be run."""
    return [
      task for task in self._tasks if not self.is_done(task) and task not in self._left_by_others
    ]

  def run(self, executor: executors.Executor) -> Iterator[tasks_lib.Task]:
    """Runs all tasks that are not done, and yields each when it has finished.

    Raises:
      TaskFailed: a command failed, or was asked to stop.
      ValueError: a command succeeded and left no results.
    """
    while True:
      while len(self._running) < executor.count and (task := self._next()):
        self._print_progress(task, executor)
        self._start(task, executor)
      if not self._running:
        return
      task, status = executor.wait()
      if status:
        raise TaskFailed(status)
      self._finish(task)
      yield task

  def _next(self) -> tasks_lib.Task | None:
    """Returns the first task that can start, if any."""
    waiting = (task for task in self._tasks if task not in self._running and not self.is_done(task))
    return next((task for task in waiting if all(map(self.is_done, task.trainings))), None)

  def _start(self, task: tasks_lib.Task, executor: executors.Executor) -> None:
    resumes = isinstance(task, tasks_lib.TrainingTask) and task.newest_step(self._output) > 0
    self._running[task] = time.monotonic(), resumes
    executor.start(task, tasks_lib.arguments(task, self._output, self._data_flags))

  def _finish(self, task: tasks_lib.Task) -> None:
    start, resumed = self._running.pop(task)
    seconds = time.monotonic() - start
    record = task.record(self._output)
    records.write(self._output, task.name, record, seconds=seconds, resumed=resumed)
    if not task.is_done(self._output):
      folder = task.folder(self._output)
      raise ValueError(f"{task.name}: expected results in {folder}, received none")
    self._done.add(task)
    for part in (other for other in self._tasks if _is_part_of(other, task)):
      if part.is_done(self._output):
        self._done.add(part)
      else:
        self._left_by_others.discard(part)  # The training was past its middle: it is trained alone.

  def _print_progress(self, task: tasks_lib.Task, executor: executors.Executor) -> None:
    unfinished, total = self.unfinished(), len(self._tasks) - len(self._left_by_others)
    number = total - len(unfinished) + len(self._running) + 1
    seconds = seconds_left(unfinished, self._output, executor.count)
    left = "unknown" if seconds is None else f"about {_duration(seconds)}"
    print(f"[{number}/{total}, time left: {left}] {task.name}", flush=True)


def seconds_left(
  tasks: Iterable[tasks_lib.Task], output: pathlib.Path, workers: int = 1
) -> float | None:
  """Estimates the time that tasks take, in seconds, from the tasks that are done.

  A task is expected to take the mean time of its group, or else of its command, or else of all
  tasks.

  Args:
    tasks: the tasks.
    output: the output folder, with the records of the finished tasks.
    workers: the number of tasks that run at once.

  Returns:
    The estimate, or None where no task is done.
  """
  times = records.seconds_by_group(output)
  if not times:
    return None

  def expected(task: tasks_lib.Task) -> float:
    group_times = times.get((task.command, records.group(task.name)))
    command_times = [
      seconds
      for (command, _), values in times.items()
      if command == task.command
      for seconds in values
    ]
    return float(np.mean(group_times or command_times or np.concatenate([*times.values()])))

  return sum(map(expected, tasks)) / workers


def _is_part_of(task: tasks_lib.Task, training: tasks_lib.Task) -> bool:
  """Whether a task is that of a training's model in mid-training."""
  return isinstance(task, tasks_lib.MidTrainingTask) and task.whole == training


def _require_distinct(tasks: Sequence[tasks_lib.Task]) -> None:
  """Requires that no two different tasks share a name, hence a folder or a record."""
  by_name: dict[str, tasks_lib.Task] = {}
  for task in tasks:
    if by_name.setdefault(task.name, task) != task:
      raise ValueError(f"tasks: expected one task for each name, received two for {task.name}")


def _duration(seconds: float) -> str:
  minutes = max(1, round(seconds / 60))
  return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
