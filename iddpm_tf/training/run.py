"""The steps of a training, and what is due between them."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import signal
import time
from typing import Any
from typing import Protocol

import numpy as np
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.models import checkpoints as checkpoints_lib
from iddpm_tf.training import faults
from iddpm_tf.training import periodic_evaluation
from iddpm_tf.training import sample_grids
from iddpm_tf.training import state as state_lib
from iddpm_tf.training import status as status_lib
from iddpm_tf.training import tensorboard
from iddpm_tf.training import train_step
from iddpm_tf.utils import devices
from iddpm_tf.utils import files
from iddpm_tf.utils import progress as progress_lib


class Evaluations(Protocol):
  """Measures a training at regular intervals."""

  def begin(self, writer: tensorboard.Writer) -> None:
    """Computes what is missing before the first step."""

  def missed(self, step: int) -> bool:
    """Returns whether the evaluation that was due at a step was not finished."""

  def run(self, step: int, stop: periodic_evaluation.Stop) -> None:
    """Measures the weights of a step, and writes the results unless it is stopped."""


@dataclasses.dataclass
class Output:
  """Shows and measures a training between its steps. A full disk does not stop it."""

  writer: tensorboard.Writer
  grids: sample_grids.SampleGrids | None  # None for a classifier, which draws nothing.
  evaluations: Evaluations
  status: status_lib.Status
  progress: progress_lib.Progress
  folder: str  # Of TensorBoard's files.

  def log(self, step: int, state: state_lib.TrainState, monitor: faults.Monitor) -> str:
    """Writes scalars and the status; returns a short text about them."""
    text = ""
    with self._disk(f"the scalars of step {step}"):
      text = self.writer.write(step, state)
    self.status.update(step=step, **self.writer.rates, **_fault_values(state, monitor))
    return text

  def draw(self, step: int) -> None:
    """Draws the sample grids."""
    if self.grids is None:
      return
    with self._disk(f"the sample grids of step {step}"):
      self.grids.draw(step)

  def evaluate(self, step: int, stop: periodic_evaluation.Stop) -> None:
    """Scores the weights."""
    with self._disk(f"the evaluation of step {step}"):
      self.evaluations.run(step, stop)

  def go_back(self, step: int, state: state_lib.TrainState, monitor: faults.Monitor) -> None:
    """Shows that the training continues from an earlier step."""
    with self._disk("TensorBoard's events"):
      self.writer.go_back(step)
    self.status.update(step=step, **_fault_values(state, monitor))

  def profile(self) -> None:
    """Begins to record for TensorBoard's profiler."""
    with self._disk("the profile"):
      tf.profiler.experimental.start(self.folder)

  def stop_profile(self) -> None:
    """Writes what was recorded for TensorBoard's profiler."""
    with self._disk("the profile"):
      tf.profiler.experimental.stop()

  @contextlib.contextmanager
  def _disk(self, what: str) -> Iterator[None]:
    """Lets the training go on if the block cannot write to the disk."""
    try:
      yield
    except (OSError, tf.errors.OpError, checkpoints_lib.SaveError) as error:
      if not files.is_of_disk(error):
        raise
      self.progress.say(f"warning: {what}: {files.reason_of(error)}; training goes on")


@dataclasses.dataclass
class Run:
  """A running training.

  Every worker makes the same decisions, because all have the records of all steps. The chief alone
  has an output and saves.
  """

  state: state_lib.TrainState
  checkpoints: checkpoints_lib.Checkpoints
  workers: devices.Workers
  stop: periodic_evaluation.Stop
  monitor: faults.Monitor
  steps: Callable[[Iterator, tf.Tensor], train_step.Record]
  batches_from: Callable[[int], Iterator]
  output: Output | None = None
  _saved: int = -1  # The step of the last checkpoint.
  _restarts: int = 0  # How often in a row the run went back to it.
  stopped_by: signal.Signals | None = None  # The signal that this or another worker has received.
  _profiles: bool = False  # Whether TensorBoard's profiler is recording.

  def run(self) -> int:
    """Takes the steps, and returns the last one.

    Raises:
      DivergedError: the training diverges.
      SaveError: the last checkpoint cannot be saved.
    """
    total = self.state.config.training.train_steps
    step = self._saved = int(self.state.step.numpy())
    batches = self.batches_from(step)
    progress: progress_lib.Progress = progress_lib.Silent()
    if self.output:
      progress = self.output.progress
      if self.output.evaluations.missed(step):
        self.output.evaluate(step, self.stop)
      self.output.status.update(step=step)
    with progress.bar(total=total, initial=step, unit="step") as bar:
      while step < total and not self._stops():
        count = steps_until_boundary(step, self.state.config)
        self._profile(step)
        start = time.perf_counter()
        records = tf.nest.map_structure(np.asarray, self.steps(batches, tf.constant(count)))
        step += count
        lines, fault = self.monitor.add(records, step)
        for line in lines:
          progress.say(line)
        if self.output:
          self.output.writer.add(records, time.perf_counter() - start)
        bar.update(count)
        fault = fault or self._after(step, bar)
        if fault:
          back = self._go_back(fault)
          bar.update(back - step)
          step, batches = back, self.batches_from(back)
      if self.output and self._profiles:
        self.output.stop_profile()
      # The signal may have come at any line above.
      fault = self._save(step, wait=True)
      if fault:
        step = self._go_back(fault)
    self.workers.from_chief(0)  # No worker leaves before the chief has drawn, scored and saved.
    return step

  def _profile(self, step: int) -> None:
    """Begins or ends what TensorBoard's profiler records, if that is due after a step."""
    steps = self.state.config.training.profile_steps
    if not self.output or not steps:
      return
    if step == steps[0] - 1 and not self._profiles:
      self.output.profile()
      self._profiles = True
    elif self._profiles and not steps[0] <= step + 1 <= steps[1]:
      self.output.stop_profile()
      self._profiles = False

  def _stops(self) -> bool:
    """Returns whether a worker has received a signal, which then stands for one in each of them."""
    stops = self.workers.any(bool(self.stop.signal))
    if stops:
      self.stopped_by = self.stop.signal or signal.SIGTERM
    return stops

  def _after(self, step: int, bar: progress_lib.Bar) -> faults.Fault | None:
    """Does what is due after a step. A fault means that nothing was saved."""
    config = self.state.config
    options = config.training
    last = step == options.train_steps
    if self.output and (step % options.log_every == 0 or last):
      bar.set_postfix_str(self.output.log(step, self.state, self.monitor))
    # An evaluation may take long: what was trained is saved before it.
    evaluation_is_due = periodic_evaluation.is_due(config, step)
    due = step % options.save_every == 0 or evaluation_is_due
    # After skipped steps, a run may have to go back: further than to here.
    if last or (due and not self.monitor.is_skipping):
      fault = self._save(step)
      if fault:
        return fault
    if self.output:
      if (options.sample_every and step % options.sample_every == 0) or last:
        self.output.draw(step)
      if evaluation_is_due:
        self.output.evaluate(step, self.stop)
    return None

  def _save(self, step: int, *, wait: bool = False) -> faults.Fault | None:
    """Saves a checkpoint in the background unless the state is not worth it.

    A full disk does not stop the training: what was not saved is said, and tried again when the
    next checkpoint is due. With `wait`, at the end, it is an error.
    """
    try:
      self.checkpoints.wait()
    except checkpoints_lib.SaveError as error:
      if self.output:
        self.output.progress.say(f"warning: {error}; training goes on")
      self._saved = -1
    if step != self._saved:
      fault = self.monitor.check(step)
      if fault:
        return fault
      if self.output:
        self.checkpoints.save_in_background(step, self._note_saved)
      self._saved = step
    if wait:
      self.checkpoints.wait()
    return None

  def _note_saved(self, path: str) -> None:
    """Notes in the chief that a checkpoint is on the disk, from which the run may go on."""
    self._restarts = 0
    if self.output:
      self.output.status.saved(path)

  def _go_back(self, fault: faults.Fault) -> int:
    """Goes back to the last checkpoint and takes other noise from there; returns its step.

    Raises:
      DivergedError: there is none, or the run went back to it as often as it may.
    """
    try:
      self.checkpoints.wait()
    except checkpoints_lib.SaveError as error:
      if self.output:
        self.output.progress.say(f"warning: {error}")
    # Restoring changes the weights, which the diagnosis tells of.
    diagnosis, restarts = self.monitor.diagnosis(), int(self.state.guard.restarts.numpy()) + 1
    self._restarts = self.workers.from_chief(self._restarts + 1)
    step = restore_everywhere(self.checkpoints, self.workers)
    if self.output:
      checkpoints_lib.say_skipped(self.checkpoints, step, self.output.progress)
      self.checkpoints.set_aside_skipped()
    limit = self.state.config.training.max_restarts
    if step < 0 or self._restarts > limit:
      saved = "no checkpoint has been saved yet"
      if step >= 0:
        saved = f"nothing is saved after {self.checkpoints.path(step)}"
        saved += f", also after {limit} returns to it with other noise" if limit else ""
      raise faults.DivergedError(
        f"step {fault.step}",
        f"{fault.reason}; {saved}; {diagnosis}; a lower learning_rate or warmup_steps may help",
      )
    self.state.guard.restarts.assign(restarts)
    self._saved = step
    self.monitor.begin()
    self.monitor.last = fault
    if self.output:
      self.output.go_back(step, self.state, self.monitor)
      self.output.progress.say(
        f"step {fault.step}: {fault.reason}; going back to {self.checkpoints.path(step)} with "
        f"other noise ({self._restarts} of {limit})"
      )
    return step


def restore_everywhere(
  checkpoints: checkpoints_lib.Checkpoints, workers: devices.Workers, *, strict: bool = False
) -> int:
  """Restores the newest checkpoint that the chief can read in all workers.

  Args:
    checkpoints: the checkpoints of the run.
    workers: the processes, which call this at the same time.
    strict: whether a damaged newest checkpoint is an error.

  Returns:
    Its step, or -1 where there is none.

  Raises:
    InputError: all checkpoints are damaged, or with `strict` the newest.
  """
  step = -1
  if workers.is_chief:
    step = checkpoints.restore(strict=strict)
    if checkpoints.newest_step() < 0:
      step = -1
  agreed = workers.from_chief(step)
  if agreed >= 0 and not workers.is_chief:
    checkpoints.restore(step=agreed)
  return agreed


def steps_until_boundary(step: int, config: config_lib.Config) -> int:
  """Returns the number of steps of the next call, after which something may be due."""
  options = config.training
  due = [options.train_steps - step, options.steps_per_call]
  intervals = (
    options.log_every,
    options.save_every,
    options.sample_every,
    config.evaluation.eval_every,
  )
  due += [every - step % every for every in intervals if every]
  if options.profile_steps:
    first, last = options.profile_steps
    due += [boundary - step for boundary in (first - 1, last) if boundary > step]
  return min(due)


def _fault_values(state: state_lib.TrainState, monitor: faults.Monitor) -> dict[str, Any]:
  last = monitor.last
  return {
    "skipped_steps": monitor.skipped,
    "restarts": int(state.guard.restarts.numpy()),
    "fault": last and last._asdict(),
  }
