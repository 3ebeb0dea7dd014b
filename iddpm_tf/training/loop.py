"""The training loop: set-up, resume, steps, and what is due between them."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
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
from iddpm_tf.training import held_out_accuracy
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
from iddpm_tf.utils import graph_optimizer
from iddpm_tf.utils import progress as progress_lib

# Gives a new run its initial weights, and writes its folder with a checkpoint of step 0.
Begin = Callable[[state_lib.TrainState], object]


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
  settings.require(
    present > 1 or not config.is_classifier,
    "dataset",
    f"images of two classes or more for a classifier, and those of {source.name} are of {present}",
    config.data.dataset,
  )
  return config


def train(
  config: config_lib.Config,
  source: sources.Source,
  folder: model_dir_lib.ModelDir,
  *,
  strategy: tf.distribute.Strategy,
  progress: progress_lib.Progress,
  begin: Begin | None = None,
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
    begin: gives a new run its initial weights, and writes its folder. None begins with random
      weights.
    strict: whether a damaged newest checkpoint is an error; otherwise the run continues from an
      earlier one.

  Raises:
    InputError: a setting is wrong, all checkpoints are damaged, or another process uses the folder.
    DivergedError: the training diverges.
    SaveError: the last checkpoint cannot be saved.
    LostWorkerError: another process of the training has ended.
  """
  workers = devices.Workers(strategy)
  if not workers.is_chief:
    progress.say(f"worker {workers.index} of {workers.count}; worker 0 says what the run does")
    progress = progress_lib.Silent()
  with (
    StopRequest() as stop,
    contextlib.ExitStack() as held,
    workers.watched(),
    _one_line_for_disks(folder),
  ):
    training = _Training(config, source, folder, strategy, workers, progress, stop, held)
    # A new run with initial weights makes the folder with everything in it, which fails if another
    # process has done so meanwhile. A finished run may lie on a disk that can only be read.
    finished = folder.newest_step() >= config.training.train_steps
    if workers.is_chief and not finished and (begin is None or folder.read_config()):
      training.hold()
    training.prepare(strict=strict)
    return training.lead(begin) if workers.is_chief else training.follow(begin)


@dataclasses.dataclass
class _Training:
  """A call of `train`: its set-up, then its steps, and what is said and written around them.

  Attributes:
    config: the configuration of the run.
    source: the training images.
    folder: the model folder.
    strategy: the devices.
    workers: the processes of the training.
    progress: shows what the training does. Workers besides the chief show nothing.
    stop: the signal that stops the training.
    held: ends with the call, and with it the use of the folder.
  """

  config: config_lib.Config
  source: sources.Source
  folder: model_dir_lib.ModelDir
  strategy: tf.distribute.Strategy
  workers: devices.Workers
  progress: progress_lib.Progress
  stop: StopRequest
  held: contextlib.ExitStack
  _holds: bool = False

  def hold(self) -> None:
    """Lets no other process use the folder until the call ends."""
    if not self._holds:
      self.held.enter_context(self.folder.held())
      self._holds = True

  def prepare(self, *, strict: bool) -> None:
    """Makes the state, restores it, and finds what is wrong with the data.

    Nothing is written.

    Args:
      strict: whether a damaged newest checkpoint is an error.
    """
    config, options = self.config, self.config.training
    self.part_size = images_per_part(self.strategy, options)
    if not config.is_classifier:
      batched_sampling.parse_samplers(config)
    with self.strategy.scope():
      self.state = state_lib.TrainState(config)
    self.checkpoints = checkpoints_lib.Checkpoints(
      self.state, self.folder.checkpoints, options.keep_checkpoints, keep_every=options.keep_every
    )
    self.first_step = max(
      0, run_lib.restore_everywhere(self.checkpoints, self.workers, strict=strict)
    )
    self.finished = self.first_step >= options.train_steps
    first_batches = self._batches(self.first_step)

    def batches_from(step):
      return iter(first_batches if step == self.first_step else self._batches(step))

    self.run = run_lib.Run(
      state=self.state,
      checkpoints=self.checkpoints,
      workers=self.workers,
      stop=self.stop,
      monitor=faults.Monitor(self.state),
      steps=make_steps(self.state, self.strategy),
      batches_from=batches_from,
    )
    self.stored = self.folder.read_config()

  def follow(self, begin: Begin | None) -> Outcome:
    """Trains in a worker besides the chief.

    Args:
      begin: as for `train`. The chief calls it.
    """
    begins = self._begins(begin)
    if self.workers.from_chief(0):
      return Outcome(self.first_step, None)  # Nothing is to be done.
    if begins:
      self.workers.from_chief(0)  # Waits for the initial weights.
      self.checkpoints.restore(step=self.first_step)
    with gradients.forgotten_custom_gradients():
      return Outcome(self.run.run(), self.stop.signal or self.run.stopped_by)

  def lead(self, begin: Begin | None) -> Outcome:
    """Trains in the chief, which alone shows and writes something.

    Args:
      begin: as for `train`.
    """
    begins = self._begins(begin)
    self.evaluations = self._evaluations()
    if self.stored:
      self.config = self.config.continuing(self.stored, self.first_step)
    is_done = self.finished and not self.evaluations.missed(self.first_step)
    if not is_done:
      self.folder.require_writable()
    self.workers.from_chief(int(is_done))
    self.progress.say(self._first_line())
    if begins:
      assert begin is not None
      self.folder.remove_leftovers()
      begin(self.state)
      self.hold()
      self.workers.from_chief(0)
    elif not self.finished or not self.stored:
      self.hold()  # Not yet where the newest checkpoint, of the last step, is damaged.
      self.folder.write_config(self.config)
    checkpoints_lib.say_skipped(self.checkpoints, self.first_step, self.progress)
    status = status_lib.Status(self.folder, self.state, self.checkpoints.newest())
    if is_done:
      with contextlib.suppress(OSError):  # The disk may be one that can only be read.
        self._note_other_images()
        status.note_end()
      return Outcome(self.first_step, None)
    self.hold()
    self.held.callback(self.checkpoints.settle)  # Before the folder is free for another process.
    self.checkpoints.set_aside_skipped()
    self.checkpoints.sweep()
    self._note_other_images()
    if self.stored and not self.finished:
      self._say_changes()
    return self._train(status)

  def _train(self, status: status_lib.Status) -> Outcome:
    """Takes the steps, and shows how it goes."""
    estimates.report(self.state, self.source, self.strategy, self.progress)
    with (
      gradients.forgotten_custom_gradients(),
      tensorboard.Writer(self.folder, self.config, self.first_step, self.part_size) as writer,
      _ended(status),
    ):
      grids = None
      if not self.config.is_classifier:
        grids = sample_grids.SampleGrids(
          self.state, self.source, self.folder, writer, self.progress
        )
      self.evaluations.begin(writer)
      self.run.output = run_lib.Output(
        writer, grids, self.evaluations, status, self.progress, str(self.folder.tensorboard)
      )
      step = self.run.run()
      train_steps = self.config.training.train_steps
      status.update(step=step, state="stopped" if step < train_steps else "finished")
    stopped_by = self.stop.signal or self.run.stopped_by
    if stopped_by:
      where = f"and saved at step {step}" if step else "before the first step"
      self.progress.say(f"stopped by {stopped_by.name} {where}; the same call continues from there")
    else:
      self.progress.say(f"trained to step {step}: {self.checkpoints.newest()}")
    return Outcome(step, stopped_by)

  def _evaluations(self) -> run_lib.Evaluations:
    """Returns what measures the training in the chief."""
    if self.config.is_classifier:
      return held_out_accuracy.HeldOutAccuracy(self.state, self.folder, self.progress)
    # Workers besides the chief wait for it, and cannot help with a part of its work.
    alone = self.workers.count == 1
    return periodic_evaluation.PeriodicEvaluation(
      self.state,
      self.source,
      self.folder,
      self.strategy if alone else tf.distribute.get_strategy(),
      self.progress,
    )

  def _begins(self, begin: Begin | None) -> bool:
    """Returns whether this is a new run with initial weights, as the chief finds."""
    return bool(self.workers.from_chief(int(begin is not None and not self.stored)))

  def _batches(self, first_step: int) -> tf.distribute.DistributedDataset:
    """Returns the batches from step `first_step` on. Each worker reads only its part."""
    options = self.config.training

    def worker_batches(context):
      batches = batches_lib.training_batches(
        self.source,
        batch_size=options.batch_size,
        seed=options.seed,
        first_step=first_step,
        random_flip=self.config.data.random_flip,
        worker=context.input_pipeline_id,
        num_workers=context.num_input_pipelines,
      )
      return batches.rebatch(context.get_per_replica_batch_size(options.batch_size))

    return self.strategy.distribute_datasets_from_function(worker_batches)

  def _note_other_images(self) -> None:
    """Says whether a run continues on other images or labels, and records their checksum."""
    stored, now = self.folder.read_checksum(), model_dir_lib.DataChecksum.of(self.source)
    if stored and stored.differs(now):
      counts = stored.describe_counts(now)
      self.progress.say(
        f"note: {self.folder} was trained on other images or labels until now{counts}"
      )
    elif stored and now.of_all is None:
      now = now._replace(of_all=stored.of_all)  # The same images, now on the disk.
    if stored != now:
      self.folder.write_checksum(now)

  def _say_changes(self) -> None:
    """Says which settings have changed since a run was stopped."""
    assert self.stored is not None
    changes = self.config.history[len(self.stored.history) :]
    if changes:
      values = ", ".join(
        f"{change.setting} from {settings.shown(change.old)} to {settings.shown(change.new)}"
        for change in changes
      )
      self.progress.say(f"changed at step {changes[0].step}: {values}")
    if self.config.training.batch_size != self.stored.training.batch_size:
      self.progress.say(
        "note: with another batch_size, the images come in another order from here on"
      )

  def _first_line(self) -> str:
    train_steps, where = self.config.training.train_steps, devices.describe(self.strategy)
    if self.finished:
      return (
        f"{self.folder} has finished its {self.first_step} steps; a larger train_steps continues it"
      )
    if self.first_step:
      return f"resuming {self.folder} at step {self.first_step} of {train_steps}, {where}"
    return f"new run {self.folder}: {train_steps} steps on {self.config.data.dataset}, {where}"


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
) -> Callable[[Iterator, tf.Tensor], train_step.Record]:
  """Returns `steps(iterator, count)`, which takes `count` steps in one call of a graph.

  It returns a record of all steps, with arrays `[count, batch size]` and norms `[count]`.

  Args:
    state: the state of the training.
    strategy: the strategy of the training.
  """
  several_workers = devices.Workers(strategy).count > 1
  record_class = train_step.RECORDS[state.task.losses]
  per_image = train_step.per_image(state)

  def join(name, values):
    """Joins the values of the replicas' images. Other values are the same in all replicas."""
    if name in per_image and several_workers:
      return strategy.gather(values, axis=0)
    values = strategy.experimental_local_results(values)
    return tf.concat(values, axis=0) if name in per_image else values[0]

  def step(iterator):
    record = strategy.run(train_step.train_step, args=(state, next(iterator)))
    record = record_class(*map(join, record._fields, record))
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
    kinds = [tf.int32] + [tf.float32] * (len(record_class._fields) - 1)
    arrays = [tf.TensorArray(kind, count) for kind in kinds]

    def body(i, *arrays):
      return i + 1, *(array.write(i, value) for array, value in zip(arrays, step(iterator)))

    _, *arrays = tf.while_loop(
      lambda i, *_: i < count, body, [tf.constant(0), *arrays], parallel_iterations=1
    )
    return record_class(*(array.stack() for array in arrays))

  options = state.config.training
  optimizer = options.graph_optimizer
  if optimizer == "auto":
    # Grappler may make steps faster on accelerators, and smaller where the backward pass computes
    # activations again. Otherwise, on CPUs, it would only delay the first step (docs/speed.md).
    optimizer = "none" if devices.is_on_cpu(strategy) and not options.remat else "grappler"
  if optimizer == "grappler":
    return steps

  def unoptimized_steps(iterator, count):
    with graph_optimizer.disabled():
      return steps(iterator, count)

  return unoptimized_steps


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
