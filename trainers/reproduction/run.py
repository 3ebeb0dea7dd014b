"""Runs the tasks of experiments, and writes the report."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
import signal
import sys

from iddpm_tf.utils import files
from trainers.cli import signals
from trainers.reproduction import executors
from trainers.reproduction import experiments as experiments_lib
from trainers.reproduction import records
from trainers.reproduction import report
from trainers.reproduction import scales
from trainers.reproduction import scheduler as scheduler_lib
from trainers.reproduction import sections
from trainers.reproduction import tasks as tasks_lib
from trainers.reproduction.experiments import base


def run(
  names: Sequence[str],
  scale: scales.Scale,
  output: pathlib.Path,
  *,
  make_executor: Callable[[int], executors.Executor] = lambda tasks: executors.InProcess(),
  data_flags: Sequence[str] = (),
  experiments: Mapping[str, base.Experiment] | None = None,
) -> int:
  """Runs experiments, and writes the report each time that one more experiment can be shown.

  The report shows these experiments, and no other whose results may be in the output folder.

  Args:
    names: the names of the experiments to run.
    scale: the scale.
    output: the output folder.
    make_executor: returns the executor for a number of tasks.
    data_flags: flags that say where the data is.
    experiments: `{name: experiment}` of all experiments; by default those of the package.

  Returns:
    The exit status of the process.
  """
  experiments = experiments or experiments_lib.load_all()
  experiments = {name: experiment for name, experiment in experiments.items() if name in names}
  tasks = {
    name: scheduler_lib.with_trainings(experiment.needs(scale))
    for name, experiment in experiments.items()
  }
  needed = list(dict.fromkeys(task for each in tasks.values() for task in each))

  growing = _GrowingReport(scale, output, experiments, tasks, data_flags)
  files.make_folder(output)
  try:
    with signals.raised(), files.held(output), records.removed_if_empty(output):
      # Before the first task, whose models have this precision even if it is interrupted.
      records.write_scale(
        output, records.ScaleRecord(scale.name, scale.fid.features, scale.precision)
      )
      # It reads what is done, which no other process changes from here on.
      scheduler = scheduler_lib.Scheduler(needed, output, data_flags=data_flags)
      missing = len(scheduler.unfinished())
      if missing:
        with make_executor(missing) as executor:
          for _ in scheduler.run(executor):
            growing.update(scheduler.is_done)
      else:
        growing.update(scheduler.is_done)
  except scheduler_lib.TaskFailed as failure:
    return failure.status
  except KeyboardInterrupt as interrupt:
    print("stopped; run the same command to continue")
    if isinstance(interrupt, signals.Stopped):
      return interrupt.status
    return 128 + signal.SIGINT  # A training that is interrupted twice raises its own.
  print(f"wrote {output / report.HTML} and {output / report.JSON}")
  return 1 if growing.failed else 0


class _GrowingReport:
  """The report, with the experiments that can be shown so far.

  Attributes:
    failed: the names of the experiments that raised an error when they were shown.
  """

  def __init__(
    self,
    scale: scales.Scale,
    output: pathlib.Path,
    experiments: Mapping[str, base.Experiment],
    tasks: Mapping[str, Sequence[tasks_lib.Task]],
    data_flags: Sequence[str],
  ):
    self._scale, self._output = scale, output
    self._experiments, self._tasks, self._data_flags = experiments, tasks, data_flags
    self._sections: dict[str, sections.Section] = {}
    self.failed: list[str] = []

  def update(self, is_done: Callable[[tasks_lib.Task], bool]) -> None:
    """Writes the report if an experiment is done that it does not show yet.

    Args:
      is_done: whether a task is done.
    """
    new = [
      name
      for name in self._experiments
      if name not in self._sections and all(map(is_done, self._tasks[name]))
    ]
    if not new:
      return
    for name in new:
      self._sections[name] = self._show(name)
    entries = {name: self._entry(name) for name in self._experiments if name in self._sections}
    report.write(self._output, self._scale, entries, self._unjudged())

  def _entry(self, name: str) -> report.Entry:
    tasks = tasks_lib.with_commands(self._tasks[name], self._output)
    return report.Entry(
      self._experiments[name].title,
      self._sections[name],
      [tasks_lib.command_line(task, self._output, self._data_flags) for task in tasks],
      records.time_of(self._output, (task.name for task in tasks)),
    )

  def _show(self, name: str) -> sections.Section:
    """Returns an experiment's section. The text of an error takes the place of the section."""
    try:
      return self._experiments[name].show(self._scale, self._output)
    except Exception as error:
      self.failed.append(name)
      message = " ".join(str(error).split())
      text = f"{name} could not be shown: {type(error).__name__}: {message}"
      print(text, file=sys.stderr)
      return sections.Section(text)

  def _unjudged(self) -> dict[int, list[str]]:
    """Returns the claims that no section judges, with the experiments that will judge them."""
    judged = {claim.number for section in self._sections.values() for claim in section.claims}
    unjudged: dict[int, list[str]] = {}
    for name, experiment in self._experiments.items():
      for number in experiment.claims:
        if number not in judged:
          unjudged.setdefault(number, []).append(name)
    return unjudged
