"""The training loop: set-up, resume, steps, and now and then a look, a sample and a checkpoint."""

import signal
import time

import numpy as np
import tensorflow as tf

from iddpm_tf.data import batches as pipeline
from iddpm_tf.models import checkpoints as checkpoints_lib
from iddpm_tf.models import model_dir
from iddpm_tf.models import seeds as samples
from iddpm_tf.training import estimates as preflight
from iddpm_tf.training import evaluations
from iddpm_tf.training import state as state_lib
from iddpm_tf.training import tensorboard as summaries
from iddpm_tf.training import train_step
from iddpm_tf.utils import devices as strategy_lib
from iddpm_tf.utils import progress


def train(config, source, folder, strategy):
  """Trains until `config.training.train_steps`; the process's exit status.

  Args:
    config: a `Config` whose data section knows the images.
    source: a `Source`.
    folder: the model folder; resumed if it holds a checkpoint.
    strategy: a `tf.distribute.Strategy`.
  """
  options = config.training
  part_size = strategy_lib.images_a_part(strategy, options)
  samples.require_samplers(config)
  with strategy.scope():
    state = state_lib.TrainState(config)
  checkpoints = checkpoints_lib.Checkpoints(state, folder, options.keep_checkpoints)
  first_step = checkpoints.restore()
  batches = _batches(source, config, first_step, strategy)
  finished = first_step >= options.train_steps
  scores = evaluations.Evaluations(state, folder, strategy)
  model_dir.write_config(folder, config)
  _say_where(folder, first_step, options.train_steps)
  if finished and not scores.missed(first_step):
    return 0
  preflight.report(state, source, strategy)
  writer = summaries.Writer(folder, config, first_step, part_size)
  grids = samples.Grids(config, state, source, folder, writer)
  scores.begin(writer)
  steps = _make_steps(state, strategy)
  with _Stop() as stop:
    return _run(state, steps, iter(batches), checkpoints, writer, grids, scores, stop)


def _run(state, steps, iterator, checkpoints, writer, grids, scores, stop):
  options = state.config.training
  step = int(state.step.value.numpy())
  saved = step
  if scores.missed(step):
    scores.run(step, stop)
  with progress.bar(total=options.train_steps, initial=step, unit="step") as bar, writer:
    while step < options.train_steps and not stop.signal:
      count = _steps_until_boundary(step, state.config)
      start = time.perf_counter()
      records = tf.nest.map_structure(np.asarray, steps(iterator, tf.constant(count)))
      step += count
      _require_finite(records, step, checkpoints)
      writer.add(records, time.perf_counter() - start)
      bar.update(count)
      last = step == options.train_steps
      if step % options.log_every == 0 or last:
        bar.set_postfix_str(writer.write(step, state))
      if step % options.save_every == 0 or last:
        checkpoints.save(step)
        saved = step
      if options.sample_every and step % options.sample_every == 0 or last:
        grids.draw(step)
      if scores.due(step):
        if (
          step != saved
        ):  # An evaluation may be long, and what was trained is not to be lost meanwhile.
          checkpoints.save(step)
          saved = step
        scores.run(step, stop)
    # The signal may have come at any line above.
    if step != saved:
      checkpoints.save(step)
  if stop.signal:
    print(
      f"stopped by {stop.signal.name} and saved at step {step}; the same command goes on from there"
    )
    return 128 + stop.signal
  print(f"trained to step {step}: {checkpoints.newest()}")
  return 0


def _make_steps(state, strategy):
  """`steps(iterator, count)`: that many steps in one graph call; a `StepRecord` of all of them.

  Its parts are [count, batch size], the gradients' norms [count].
  """

  def joined(values):
    """Of each replica's images: of all. A norm, of which all replicas have the same: that."""
    values = strategy.experimental_local_results(values)
    return tf.concat(values, axis=0) if values[0].shape.rank else values[0]

  def step(iterator):
    record = strategy.run(train_step.train_step, args=(state, next(iterator)))
    record = train_step.StepRecord(*map(joined, record))
    # The losses of all replicas, outside of any: each then samples from the same distribution.
    state.timestep_sampler.update(record.t, record.loss)
    return record

  # AutoGraph would have nothing to convert but would look at every function beneath.
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


def _batches(source, config, first_step, strategy):
  """The distributed batches of step `first_step` and on; each worker reads its own part alone."""
  options = config.training

  def of_worker(context):
    batches = pipeline.training_batches(
      source,
      batch_size=options.batch_size,
      seed=options.seed,
      first_step=first_step,
      random_flip=config.data.random_flip,
      worker=context.input_pipeline_id,
      num_workers=context.num_input_pipelines,
    )
    return batches.rebatch(context.get_per_replica_batch_size(options.batch_size))

  return strategy.distribute_datasets_from_function(of_worker)


def _steps_until_boundary(step, config):
  """Steps of the next graph call: up to the next one after which something is due."""
  options = config.training
  due = [options.train_steps - step, options.steps_per_call]
  due += [
    every - step % every
    for every in (
      options.log_every,
      options.save_every,
      options.sample_every,
      config.evaluation.eval_every,
    )
    if every
  ]
  return min(due)


def _require_finite(records, step, checkpoints):
  if not np.all(np.isfinite(records.grad_norm)):
    first = step - len(records.grad_norm) + int(np.argmin(np.isfinite(records.grad_norm))) + 1
    raise ValueError(
      f"step {first}: expected finite gradients, received {records.grad_norm[first - step - 1]}; nothing "
      f"is saved after {checkpoints.newest() or 'the start'}; a lower --learning_rate or --warmup_steps "
      "may help"
    )


def _say_where(folder, first_step, train_steps):
  if first_step >= train_steps:
    print(f"{folder} has finished its {first_step} steps; a larger --train_steps goes on")
  elif first_step:
    print(f"resuming {folder} at step {first_step} of {train_steps}")
  else:
    print(f"training {folder}: {train_steps} steps")


class _Stop:
  """Notes SIGINT and SIGTERM, so that the step in progress ends and is saved."""

  def __init__(self):
    self.signal = None

  def __enter__(self):
    self._before = {
      number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)
    }
    return self

  def __exit__(self, *_):
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def _note(self, number, _):
    if self.signal:
      raise KeyboardInterrupt  # Asked twice: at once, without saving.
    self.signal = signal.Signals(number)
