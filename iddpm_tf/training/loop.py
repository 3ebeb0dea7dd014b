"""The training loop: set-up, resume, steps, and what is due between them."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import signal
import threading
import time
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import batches as batches_lib
from iddpm_tf.data import sources
from iddpm_tf.models import batched_sampling
from iddpm_tf.models import checkpoints as checkpoints_lib
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.training import estimates
from iddpm_tf.training import faults
from iddpm_tf.training import periodic_evaluation
from iddpm_tf.training import sample_grids
from iddpm_tf.training import state as state_lib
from iddpm_tf.training import status as status_lib
from iddpm_tf.training import tensorboard
from iddpm_tf.training import train_step
from iddpm_tf.utils import devices
from iddpm_tf.utils import files
from iddpm_tf.utils import gradients
from iddpm_tf.utils import progress as progress_lib


class Outcome(NamedTuple):
  """The end of a training."""

  step: int  # The last finished step, which is saved.
  signal: signal.Signals | None  # The signal that stopped it early, or None.


class StopRequest:
  """Notes SIGINT, SIGTERM and SIGUSR1 in a `with` block, so that the step in progress is saved.

  Clusters send SIGTERM (Kubernetes) or SIGUSR1 (SLURM's `--signal=USR1@120`) before they stop a
  job.

  A second signal raises `KeyboardInterrupt` at once. Outside the main thread, where Python delivers
  no signals, nothing is noted.

  Attributes:
    signal: the signal, or None.
  """

  def __init__(self) -> None:
    self.signal: signal.Signals | None = None
    self._handlers: dict[int, Any] = {}

  def __enter__(self) -> "StopRequest":
    if threading.current_thread() is threading.main_thread():
      for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        self._handlers[number] = signal.signal(number, self._note)
    return self

  def __exit__(self, *_: object) -> None:
    for number, handler in self._handlers.items():
      signal.signal(number, handler)

  def _note(self, number, _):
    if self.signal:
      raise KeyboardInterrupt
    self.signal = signal.Signals(number)


def resolve_config(
  config: config_lib.Config, source: sources.Source, folder: model_dir_lib.ModelDir
) -> config_lib.Config:
  """Returns the configuration of a run, with the shape and the classes of its images.

  Args:
    config: the configuration, of which the shape and the number of classes need not be known.
    source: the training images.
    folder: the model folder. A run that it holds must have the same images and, except for what a
      run may change, the same configuration.

  Raises:
    InputError: the folder holds another run, or the network does not fit the images.
  """
  stored = folder.read_config()
  image_shape, num_classes = tuple(source.images.shape[1:]), source.num_classes
  class_names = source.class_names
  if stored:
    model_dir_lib.require_same_data(stored, source, folder.path)
    image_shape, num_classes = stored.data.image_shape, stored.data.num_classes
    if stored.data.class_names or source.num_classes != num_classes:
      class_names = stored.data.class_names
  config = config.with_data(
    image_shape=image_shape, num_classes=num_classes, class_names=class_names
  )
  if stored:
    stored.require_changeable(config, folder.path)
  else:
    config = dataclasses.replace(config, history=())
  present = len(np.unique(source.labels))
  settings.require(
    present > 1 or not config.network.class_conditional,
    "class_conditional",
    f"False, because the training images of {source.name} are of {present} class and conditioning "
    "requires two or more",
    True,
  )
  return config


def train(
  config: config_lib.Config,
  source: sources.Source,
  folder: model_dir_lib.ModelDir,
  *,
  strategy: tf.distribute.Strategy,
  progress: progress_lib.Progress,
  begin: Callable[[state_lib.TrainState], object] | None = None,
  strict: bool = False,
) -> Outcome:
  """Trains until `config.training.train_steps`, or until a signal of `StopRequest`.

  A step whose loss or gradient is not finite is skipped. After `max_skipped_steps` of them in a
  row, or if the predictions are worse than none, the run goes back to its last checkpoint with
  other noise; after `max_restarts` of these it stops with an error.

  Args:
    config: a configuration with the shape of the images; see `resolve_config`.
    source: the training images.
    folder: the model folder. If it holds a checkpoint, the run continues from it.
    strategy: the devices.
    progress: shows what the training does.
    begin: gives a new run its initial weights, and writes its folder with a checkpoint of step 0.
      None begins with random weights.
    strict: whether a damaged newest checkpoint is an error; otherwise the run continues from an
      earlier one.

  Raises:
    InputError: a setting is wrong, all checkpoints are damaged, or another process uses the folder.
    DivergedError: the training diverges.
    SaveError: the last checkpoint cannot be saved.
  """
  with StopRequest() as stop, folder.held():
    return _train(config, source, folder, strategy, progress, begin, strict, stop)


def _train(config, source, folder, strategy, progress, begin, strict, stop):
  options = config.training
  part_size = images_per_part(strategy, options)
  batched_sampling.parse_samplers(config)
  with strategy.scope():
    state = state_lib.TrainState(config)
  checkpoints = checkpoints_lib.Checkpoints(
    state, folder.checkpoints, options.keep_checkpoints, keep_every=options.keep_every
  )
  first_step = checkpoints.restore(strict=strict)

  def batches_from(step):
    return iter(_batches(source, config, step, strategy))

  batches = batches_from(first_step)
  evaluations = periodic_evaluation.PeriodicEvaluation(state, source, folder, strategy, progress)
  finished = first_step >= options.train_steps
  stored = folder.read_config()
  if stored:
    config = config.continuing(stored, first_step)
  if not finished or evaluations.missed(first_step):
    folder.require_writable()
  progress.say(_first_line(folder, config, first_step, strategy))
  if begin and not stored:
    begin(state)
  elif not finished or not stored:
    folder.write_config(config)
  checkpoints_lib.say_skipped(checkpoints, first_step, progress)
  checkpoints.set_aside_skipped()
  checkpoints.sweep()
  _note_other_images(source, folder, progress)
  if stored and not finished:
    _say_changes(stored, config, progress)
  if finished and not evaluations.missed(first_step):
    return Outcome(first_step, None)
  estimates.report(state, source, strategy, progress)
  status = status_lib.Status(folder, step=first_step, train_steps=options.train_steps)
  with (
    gradients.forgotten_custom_gradients(),
    tensorboard.Writer(folder, config, first_step, part_size) as writer,
    _ended(status),
  ):
    grids = sample_grids.SampleGrids(state, source, folder, writer, progress)
    evaluations.begin(writer)
    run = _Run(
      state=state,
      checkpoints=checkpoints,
      writer=writer,
      grids=grids,
      evaluations=evaluations,
      stop=stop,
      progress=progress,
      status=status,
      monitor=faults.Monitor(state),
      steps=make_steps(state, strategy),
      batches=batches,
      batches_from=batches_from,
    )
    step = run.run()
    status.update(step=step, state="stopped" if step < options.train_steps else "finished")
  if stop.signal:
    where = f"and saved at step {step}" if step else "before the first step"
    progress.say(f"stopped by {stop.signal.name} {where}; the same call continues from there")
  else:
    progress.say(f"trained to step {step}: {checkpoints.newest()}")
  return Outcome(step, stop.signal)


def images_per_part(strategy: tf.distribute.Strategy, options: config_lib.TrainingConfig) -> int:
  """Returns the number of images of one replica's microbatch.

  Raises:
    InputError: the replicas or the microbatches would have different numbers of images.
  """
  replicas, batch_size = strategy.num_replicas_in_sync, options.batch_size
  settings.require(
    batch_size % replicas == 0,
    "batch_size",
    f"a multiple of {replicas}, the number of replicas",
    batch_size,
  )
  share = batch_size // replicas
  settings.require(
    share % options.microbatches == 0,
    "microbatches",
    f"a divisor of {share}, the images that each of {replicas} replicas has of "
    f"batch_size={batch_size}",
    options.microbatches,
  )
  return share // options.microbatches


def make_steps(
  state: state_lib.TrainState, strategy: tf.distribute.Strategy
) -> Callable[[Iterator, tf.Tensor], train_step.StepRecord]:
  """Returns `steps(iterator, count)`, which takes `count` steps in one call of a graph.

  It returns a `StepRecord` of all steps, with arrays `[count, batch size]` and norms `[count]`.
  """

  def join(name, values):
    """Joins the values of the replicas' images. Other values are the same in all replicas."""
    values = strategy.experimental_local_results(values)
    return tf.concat(values, axis=0) if name in train_step.PER_IMAGE else values[0]

  def step(iterator):
    record = strategy.run(train_step.train_step, args=(state, next(iterator)))
    record = train_step.StepRecord(*map(join, record._fields, record))
    # Outside the replicas, so that each then samples from the same distribution.
    tf.cond(
      record.skipped == 0,
      lambda: state.timestep_sampler.update(record.t, record.loss),
      lambda: None,
    )
    state.guard.update(record.grad_norm, record.skipped)
    return record

  # AutoGraph would find nothing to convert, but would look at every function.
  @tf.function(autograph=False)
  def steps(iterator, count):
    kinds = [tf.int32] + [tf.float32] * (len(train_step.StepRecord._fields) - 1)
    arrays = [tf.TensorArray(kind, count) for kind in kinds]

    def body(i, *arrays):
      return i + 1, *(array.write(i, value) for array, value in zip(arrays, step(iterator)))

    _, *arrays = tf.while_loop(
      lambda i, *_: i < count, body, [tf.constant(0), *arrays], parallel_iterations=1
    )
    return train_step.StepRecord(*(array.stack() for array in arrays))

  return steps


@dataclasses.dataclass
class _Run:
  """A running training: its parts, and what it does between the steps."""

  state: state_lib.TrainState
  checkpoints: checkpoints_lib.Checkpoints
  writer: tensorboard.Writer
  grids: sample_grids.SampleGrids
  evaluations: periodic_evaluation.PeriodicEvaluation
  stop: StopRequest
  progress: progress_lib.Progress
  status: status_lib.Status
  monitor: faults.Monitor
  steps: Callable[[Iterator, tf.Tensor], train_step.StepRecord]
  batches: Iterator
  batches_from: Callable[[int], Iterator]
  _saved: int = -1  # The step of the last checkpoint.
  _restarts: int = 0  # How often in a row the run went back to it.

  def run(self) -> int:
    """Takes the steps, and returns the last one."""
    options = self.state.config.training
    step = self._saved = int(self.state.step.numpy())
    if self.evaluations.missed(step):
      self.evaluations.run(step, self.stop)
    self.status.update(step=step)
    bar = self.progress.bar(total=options.train_steps, initial=step, unit="step")
    with bar:
      while step < options.train_steps and not self.stop.signal:
        count = _steps_until_boundary(step, self.state.config)
        start = time.perf_counter()
        records = tf.nest.map_structure(np.asarray, self.steps(self.batches, tf.constant(count)))
        step += count
        lines, fault = self.monitor.add(records, step)
        for line in lines:
          self.progress.say(line)
        self.writer.add(records, time.perf_counter() - start)
        bar.update(count)
        fault = fault or self._after(step, bar)
        if fault:
          back = self._go_back(fault)
          bar.update(back - step)
          step = back
      # The signal may have come at any line above.
      fault = self._save(step, wait=True)
      if fault:
        step = self._go_back(fault)
    return step

  def _after(self, step: int, bar: progress_lib.Bar) -> faults.Fault | None:
    """Does what is due after a step. A fault means that nothing was saved."""
    options = self.state.config.training
    last = step == options.train_steps
    if step % options.log_every == 0 or last:
      with self._disk(f"TensorBoard's events of step {step}"):
        bar.set_postfix_str(self.writer.write(step, self.state))
      self.status.update(step=step, **self.writer.rates, **self._fault_values())
    if step % options.save_every == 0 or last or self.evaluations.due(step):
      fault = self._save(step)
      if fault:
        return fault
    if (options.sample_every and step % options.sample_every == 0) or last:
      with self._disk(f"the sample grids of step {step}"):
        self.grids.draw(step)
    if self.evaluations.due(step):  # It may take long: what was trained is saved.
      with self._disk(f"the evaluation of step {step}"):
        self.evaluations.run(step, self.stop)
    return None

  def _save(self, step: int, *, wait: bool = False) -> faults.Fault | None:
    """Saves a checkpoint in the background unless the state is not worth it.

    A full disk does not stop the training: what was not saved is said, and tried again when the
    next checkpoint is due. With `wait`, at the end, it is an error.
    """
    try:
      self.checkpoints.wait()
    except checkpoints_lib.SaveError as error:
      self.progress.say(f"warning: {error}; training goes on")
      self._saved = -1
    if step != self._saved:
      fault = self.monitor.check(step)
      if fault:
        return fault
      self.checkpoints.save_in_background(step, self.status.saved)
      self._saved, self._restarts = step, 0
    if wait:
      self.checkpoints.wait()
    return None

  def _go_back(self, fault: faults.Fault) -> int:
    """Goes back to the last checkpoint and takes other noise from there; returns its step.

    Raises:
      DivergedError: there is none, or the run went back to it as often as it may.
    """
    with contextlib.suppress(checkpoints_lib.SaveError):
      self.checkpoints.wait()
    newest = self.checkpoints.newest()
    limit = self.state.config.training.max_restarts
    self._restarts += 1
    if newest is None or self._restarts > limit:
      tried = f", also after {limit} returns to it with other noise" if newest and limit else ""
      raise faults.DivergedError(
        f"step {fault.step}",
        f"{fault.reason}; nothing is saved after {newest or 'the start'}{tried}; "
        f"{self.monitor.diagnosis()}; a lower learning_rate or warmup_steps may help",
      )
    restarts = int(self.state.guard.restarts) + 1
    step = self.checkpoints.restore()
    self.state.guard.restarts.assign(restarts)
    self._saved = step
    self.monitor.begin()
    self.monitor.last = fault
    self.batches = self.batches_from(step)
    self.writer.go_back(step)
    self.status.update(step=step, **self._fault_values())
    self.progress.say(
      f"step {fault.step}: {fault.reason}; going back to {newest} with other noise "
      f"({self._restarts} of {limit})"
    )
    return step

  def _fault_values(self) -> dict[str, Any]:
    last = self.monitor.last
    return {
      "skipped_steps": self.monitor.skipped,
      "restarts": int(self.state.guard.restarts),
      "fault": last and last._asdict(),
    }

  @contextlib.contextmanager
  def _disk(self, what: str) -> Iterator[None]:
    """Lets the training go on if the block cannot write to the disk."""
    try:
      yield
    except (OSError, tf.errors.OpError, checkpoints_lib.SaveError) as error:
      if not files.is_of_disk(error):
        raise
      self.progress.say(
        f"warning: {what} cannot be written ({files.reason_of(error)}); training goes on"
      )


@contextlib.contextmanager
def _ended(status: status_lib.Status) -> Iterator[None]:
  """Writes to `status.json` how the block ended."""
  try:
    yield
  except BaseException as error:
    status.update(state="failed", fault=str(error))
    raise


def _batches(source, config, first_step, strategy):
  """Returns the distributed batches from step `first_step` on. Each worker reads only its part."""
  options = config.training

  def worker_batches(context):
    batches = batches_lib.training_batches(
      source,
      batch_size=options.batch_size,
      seed=options.seed,
      first_step=first_step,
      random_flip=config.data.random_flip,
      worker=context.input_pipeline_id,
      num_workers=context.num_input_pipelines,
    )
    return batches.rebatch(context.get_per_replica_batch_size(options.batch_size))

  return strategy.distribute_datasets_from_function(worker_batches)


def _steps_until_boundary(step, config):
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
  return min(due)


def _note_other_images(source, folder, progress):
  """Says whether a run continues on other images or labels, and records their checksum."""
  stored, now = folder.read_checksum(), model_dir_lib.DataChecksum.of(source)
  if stored and stored.differs(now):
    counts = stored.describe_counts(now)
    progress.say(f"note: {folder} was trained on other images or labels until now{counts}")
  elif stored and now.of_all is None:
    now = now._replace(of_all=stored.of_all)  # The same images, now on the disk.
  if stored != now:
    folder.write_checksum(now)


def _say_changes(stored, config, progress):
  """Says which settings have changed since a run was stopped."""
  changes = config.history[len(stored.history) :]
  if changes:
    values = ", ".join(
      f"{change.setting} from {settings.shown(change.old)} to {settings.shown(change.new)}"
      for change in changes
    )
    progress.say(f"changed at step {changes[0].step}: {values}")
  if config.training.batch_size != stored.training.batch_size:
    progress.say("note: with another batch_size, the images come in another order from here on")


def _first_line(folder, config, first_step, strategy):
  train_steps, where = config.training.train_steps, devices.describe(strategy)
  if first_step >= train_steps:
    return f"{folder} has finished its {first_step} steps; a larger train_steps continues it"
  if first_step:
    return f"resuming {folder} at step {first_step} of {train_steps}, {where}"
  return f"new run {folder}: {train_steps} steps on {config.data.dataset}, {where}"
