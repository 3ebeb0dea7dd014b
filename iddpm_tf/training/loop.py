"""The training loop: set-up, resume, steps, and what is due between them."""

from collections.abc import Callable
from collections.abc import Iterator
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
from iddpm_tf.training import periodic_evaluation
from iddpm_tf.training import sample_grids
from iddpm_tf.training import state as state_lib
from iddpm_tf.training import tensorboard
from iddpm_tf.training import train_step
from iddpm_tf.utils import devices
from iddpm_tf.utils import gradients
from iddpm_tf.utils import progress as progress_lib


class Outcome(NamedTuple):
  """The end of a training."""

  step: int  # The last finished step, which is saved.
  signal: signal.Signals | None  # The signal that stopped it early, or None.


class StopRequest:
  """Notes SIGINT and SIGTERM in a `with` block, so that the step in progress ends and is saved.

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
      for number in (signal.SIGINT, signal.SIGTERM):
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
) -> Outcome:
  """Trains until `config.training.train_steps`, or until SIGINT or SIGTERM.

  Args:
    config: a configuration with the shape of the images; see `resolve_config`.
    source: the training images.
    folder: the model folder. If it holds a checkpoint, the run continues from it.
    strategy: the devices.
    progress: shows what the training does.
    begin: gives a new run its initial weights, and writes its folder with a checkpoint of step 0.
      None begins with random weights.

  Raises:
    InputError: a setting is wrong, a checkpoint is damaged, or a gradient is not finite.
  """
  options = config.training
  part_size = images_per_part(strategy, options)
  batched_sampling.parse_samplers(config)
  with strategy.scope():
    state = state_lib.TrainState(config)
  checkpoints = checkpoints_lib.Checkpoints(state, folder.checkpoints, options.keep_checkpoints)
  first_step = checkpoints.restore()
  batches = _batches(source, config, first_step, strategy)
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
    checkpoints = checkpoints_lib.Checkpoints(state, folder.checkpoints, options.keep_checkpoints)
  elif not finished or not stored:
    folder.write_config(config)
  _note_other_images(source, folder, progress)
  if stored and not finished:
    _say_changes(stored, config, progress)
  if finished and not evaluations.missed(first_step):
    return Outcome(first_step, None)
  estimates.report(state, source, strategy, progress)
  with (
    gradients.forgotten_custom_gradients(),
    tensorboard.Writer(folder, config, first_step, part_size) as writer,
    StopRequest() as stop,
  ):
    grids = sample_grids.SampleGrids(state, source, folder, writer, progress)
    evaluations.begin(writer)
    step = _run(
      _Run(state, checkpoints, writer, grids, evaluations, stop, progress),
      make_steps(state, strategy),
      iter(batches),
    )
  if stop.signal:
    progress.say(
      f"stopped by {stop.signal.name} and saved at step {step}; the same call continues from there"
    )
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

  def join(values):
    """Joins the values of the replicas' images. A norm is the same in all replicas."""
    values = strategy.experimental_local_results(values)
    return tf.concat(values, axis=0) if values[0].shape.rank else values[0]

  def step(iterator):
    record = strategy.run(train_step.train_step, args=(state, next(iterator)))
    record = train_step.StepRecord(*map(join, record))
    # Outside the replicas, so that each then samples from the same distribution.
    state.timestep_sampler.update(record.t, record.loss)
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


class _Run(NamedTuple):
  """The parts of a running training."""

  state: state_lib.TrainState
  checkpoints: checkpoints_lib.Checkpoints
  writer: tensorboard.Writer
  grids: sample_grids.SampleGrids
  evaluations: periodic_evaluation.PeriodicEvaluation
  stop: StopRequest
  progress: progress_lib.Progress


def _run(run, steps, iterator):
  """Takes the steps, and returns the last one."""
  options = run.state.config.training
  step = int(run.state.step.numpy())
  saved = step
  if run.evaluations.missed(step):
    run.evaluations.run(step, run.stop)
  bar = run.progress.bar(total=options.train_steps, initial=step, unit="step")
  with bar:
    while step < options.train_steps and not run.stop.signal:
      count = _steps_until_boundary(step, run.state.config)
      start = time.perf_counter()
      records = tf.nest.map_structure(np.asarray, steps(iterator, tf.constant(count)))
      step += count
      _require_finite(records, step, run.checkpoints)
      run.writer.add(records, time.perf_counter() - start)
      bar.update(count)
      last = step == options.train_steps
      if step % options.log_every == 0 or last:
        bar.set_postfix_str(run.writer.write(step, run.state))
      if step % options.save_every == 0 or last:
        run.checkpoints.save(step)
        saved = step
      if (options.sample_every and step % options.sample_every == 0) or last:
        run.grids.draw(step)
      if run.evaluations.due(step):
        if step != saved:  # An evaluation may take long, and must not lose what was trained.
          run.checkpoints.save(step)
          saved = step
        run.evaluations.run(step, run.stop)
    # The signal may have come at any line above.
    if step != saved:
      run.checkpoints.save(step)
  return step


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


def _require_finite(records, step, checkpoints):
  finite = np.isfinite(records.grad_norm)
  if not np.all(finite):
    index = int(np.argmin(finite))
    raise settings.InputError(
      f"step {step - len(finite) + index + 1}",
      f"expected finite gradients, received {records.grad_norm[index]}; nothing is saved after "
      f"{checkpoints.newest() or 'the start'}; a lower learning_rate or warmup_steps may help",
    )


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
