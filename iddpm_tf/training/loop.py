"""The training loop: set-up, resume, steps, and what is due between them."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import functools
import signal
import threading
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
from iddpm_tf.training import run as run_lib
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

  Clusters send SIGTERM (Kubernetes) or SIGUSR1 (SLURM, if asked to) before they stop a job.

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
  row, or if the mean squared error is above 10 when a checkpoint is due, the run goes back to its
  last checkpoint with other noise; after `max_restarts` of these it stops with an error.

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
    LostWorkerError: another process of the training has ended.
  """
  workers = devices.Workers(strategy)
  with (
    StopRequest() as stop,
    contextlib.ExitStack() as held,
    workers.watched(),
    _one_line_for_disks(folder),
  ):
    # A new run with initial weights makes the folder with everything in it, which fails if another
    # process has done so meanwhile. A finished run may lie on a disk that can only be read.
    finished = folder.newest_step() >= config.training.train_steps
    hold = functools.cache(lambda: held.enter_context(folder.held()))  # It is held once.
    if workers.is_chief and not finished and (begin is None or folder.read_config()):
      hold()
    return _train(
      config, source, folder, strategy, workers, progress, begin, strict, stop, held, hold
    )


def _train(config, source, folder, strategy, workers, progress, begin, strict, stop, held, hold):
  if not workers.is_chief:
    progress.say(f"worker {workers.index} of {workers.count}; worker 0 says what the run does")
    progress = progress_lib.Silent()
  options = config.training
  part_size = images_per_part(strategy, options)
  batched_sampling.parse_samplers(config)
  with strategy.scope():
    state = state_lib.TrainState(config)
  checkpoints = checkpoints_lib.Checkpoints(
    state, folder.checkpoints, options.keep_checkpoints, keep_every=options.keep_every
  )
  first_step = max(0, run_lib.restore_everywhere(checkpoints, workers, strict=strict))

  # What is wrong with the data is said before anything is written.
  first_batches = _batches(source, config, first_step, strategy)

  def batches_from(step):
    return iter(first_batches if step == first_step else _batches(source, config, step, strategy))

  finished = first_step >= options.train_steps
  run = run_lib.Run(
    state=state,
    checkpoints=checkpoints,
    workers=workers,
    stop=stop,
    monitor=faults.Monitor(state),
    steps=make_steps(state, strategy),
    batches_from=batches_from,
  )
  stored = folder.read_config()
  begins = workers.from_chief(int(begin is not None and not stored))
  if not workers.is_chief:
    if workers.from_chief(0):
      return Outcome(first_step, None)  # Nothing is to be done.
    if begins:
      workers.from_chief(0)  # Waits for the initial weights.
      checkpoints.restore(step=first_step)
    with gradients.forgotten_custom_gradients():
      return Outcome(run.run(), stop.signal or run.stopped_by)
  # Workers besides the chief wait for it, and cannot help with a part of its work.
  own_devices = strategy if workers.count == 1 else tf.distribute.get_strategy()
  evaluations = periodic_evaluation.PeriodicEvaluation(state, source, folder, own_devices, progress)
  if stored:
    config = config.continuing(stored, first_step)
  is_done = finished and not evaluations.missed(first_step)
  if not is_done:
    folder.require_writable()
  workers.from_chief(int(is_done))
  progress.say(_first_line(folder, config, first_step, strategy))
  if begins:
    assert begin is not None
    folder.remove_leftovers()
    begin(state)
    hold()
    workers.from_chief(0)
  elif not finished or not stored:
    hold()  # Not yet where the newest checkpoint, of the last step, is damaged.
    folder.write_config(config)
  checkpoints_lib.say_skipped(checkpoints, first_step, progress)
  status = status_lib.Status(folder, state, checkpoints.newest())
  if is_done:
    with contextlib.suppress(OSError):  # The disk may be one that can only be read.
      _note_other_images(source, folder, progress)
      status.note_end()
    return Outcome(first_step, None)
  hold()
  held.callback(checkpoints.settle)  # Before the folder is free for another process.
  checkpoints.set_aside_skipped()
  checkpoints.sweep()
  _note_other_images(source, folder, progress)
  if stored and not finished:
    _say_changes(stored, config, progress)
  estimates.report(state, source, strategy, progress)
  with (
    gradients.forgotten_custom_gradients(),
    tensorboard.Writer(folder, config, first_step, part_size) as writer,
    _ended(status),
  ):
    grids = sample_grids.SampleGrids(state, source, folder, writer, progress)
    evaluations.begin(writer)
    run.output = run_lib.Output(
      writer, grids, evaluations, status, progress, str(folder.tensorboard)
    )
    step = run.run()
    status.update(step=step, state="stopped" if step < options.train_steps else "finished")
  stopped_by = stop.signal or run.stopped_by
  if stopped_by:
    where = f"and saved at step {step}" if step else "before the first step"
    progress.say(f"stopped by {stopped_by.name} {where}; the same call continues from there")
  else:
    progress.say(f"trained to step {step}: {checkpoints.newest()}")
  return Outcome(step, stopped_by)


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
  several_workers = devices.Workers(strategy).count > 1

  def join(name, values):
    """Joins the values of the replicas' images. Other values are the same in all replicas."""
    if name in train_step.PER_IMAGE and several_workers:
      return strategy.gather(values, axis=0)
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


@contextlib.contextmanager
def _ended(status: status_lib.Status) -> Iterator[None]:
  """Writes to `status.json` how the block ended."""
  try:
    yield
  except BaseException as error:
    status.update(state="failed", fault={"step": None, "reason": settings.first_line(error)})
    raise


@contextlib.contextmanager
def _one_line_for_disks(folder: model_dir_lib.ModelDir) -> Iterator[None]:
  """Raises an `InputError` where TensorFlow cannot write to the disk."""
  try:
    yield
  except tf.errors.OpError as error:
    if not files.is_of_disk(error):
      raise
    message = f"expected a folder that can be written, received {folder}"
    reason = files.reason_of(error)
    raise files.DiskError("model_dir", f"{message} ({reason})") from None


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
