"""Writes what TensorBoard and a CSV file show of a training, and the line beside its bar."""

import dataclasses
import time
from typing import Any

import numpy as np
from tensorboard.compat.proto import event_pb2
from tensorboard.plugins.hparams import api as hparams
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.training import csv_log
from iddpm_tf.training import noise_scale
from iddpm_tf.training import state as state_lib
from iddpm_tf.training import train_step

_QUARTILES = 4


class Writer:
  """Collects the records of steps and writes their means; used in a `with` block.

  Attributes:
    rates: `images_per_second` of the steps that were written last; empty before.
  """

  def __init__(
    self,
    folder: model_dir_lib.ModelDir,
    config: config_lib.Config,
    first_step: int,
    part_size: int,
  ):
    """Opens a file of events, and writes the configuration.

    Args:
      folder: the model folder.
      config: the configuration of the run.
      first_step: the step at which the training begins or continues.
      part_size: the number of images in a replica's microbatch, whose gradients
        `StepRecord.part_squared_norm` measures.
    """
    self._config, self._part_size = config, part_size
    self._writer = tf.summary.create_file_writer(str(folder.tensorboard))
    self._csv, self._row = csv_log.CsvLog(folder.progress), dict[str, float]()
    self.rates: dict[str, float] = {}
    self.go_back(first_step)
    with self._writer.as_default(step=first_step):
      hparams.hparams(_flat(config))
      tf.summary.text("config", f"```\n{config.to_json()}\n```")
      if config.history:
        tf.summary.text("history", _table(config.history))

  def go_back(self, step: int) -> None:
    """Continues after a step: TensorBoard forgets what earlier files say of later ones."""
    self._records: list[train_step.Record] = []
    self._seconds = 0.0
    self._csv.go_back(step)
    log = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    event = event_pb2.Event(wall_time=time.time(), step=step + 1, session_log=log)
    with self._writer.as_default(step=step):
      # TensorFlow 2 has no other way to write an event that is no summary.
      tf.raw_ops.ImportEvent(writer=self._writer._resource, event=event.SerializeToString())
    self._writer.flush()

  def add(self, records: train_step.Record, seconds: float) -> None:
    """Adds the records of some steps.

    Args:
      records: a record of NumPy arrays `[steps, batch size]`.
      seconds: the time that the steps took.
    """
    self._records.append(records)
    self._seconds += seconds

  def write(self, step: int, state: state_lib.TrainState) -> str:
    """Writes the means of the records since the last call, and returns a short text about them."""
    records: Any = type(self._records[0])(*map(np.concatenate, zip(*self._records)))
    rate = records.t.size / self._seconds
    self.rates = {"images_per_second": round(rate, 3)}
    self._records, self._seconds, self._row = [], 0.0, {}
    all_records, skipped = records, records.skipped > 0
    if not np.all(skipped):  # Otherwise the means are of what was refused.
      records = records._make(values[~skipped] for values in records)
    with self._writer.as_default(step=step):
      overflows = (all_records.loss_scale > 1) & ~np.isfinite(all_records.grad_norm)
      self._scalar("faults/skipped_steps", np.sum(skipped & ~overflows))
      if state.guard.scales_loss:
        self._scalar("loss_scale", records.loss_scale[-1])
      self._scalar("faults/restarts", state.guard.restarts.read_value())
      self._write_losses(records, state.task.charts)
      tf.summary.histogram("timesteps/drawn", records.t.ravel())
      tf.summary.histogram(
        "timesteps/probability_times_T",
        state.timestep_sampler.probabilities() * self._config.diffusion.diffusion_steps,
      )
      self._write_noise_scale(records)
      self._scalar("norm/gradients", np.mean(records.grad_norm))
      self._scalar("norm/weights", tf.norm(state.weights.variable))
      self._scalar("learning_rate", state.optimizer.learning_rate)
      self._scalar("images_per_second", rate)
    self._writer.flush()
    self._csv.append(step, self._row)
    return f"loss {np.mean(records.loss * records.weights):.4f}, {rate:.0f} images/s"

  def write_values(self, values: dict[str, float], kind: str, weights: str, step: int) -> None:
    """Writes values into one chart each, with one curve per set of weights.

    Args:
      values: the values by name.
      kind: the prefix of the charts' names, such as `evaluation`.
      weights: the name of the weights, such as `ema_0.9999`.
      step: the step of the weights.
    """
    with self._writer.as_default(step=step):
      for name, value in values.items():
        tf.summary.scalar(f"{kind}_{name}/{weights}", value)
    self._writer.flush()

  def write_image(self, name: str, image: np.ndarray, step: int) -> None:
    """Writes one picture, uint8 `[H, W, C]`."""
    with self._writer.as_default(step=step):
      tf.summary.image(name, image[None])
    self._writer.flush()

  def __enter__(self) -> "Writer":
    return self

  def __exit__(self, *_: object) -> None:
    self._writer.close()

  def _scalar(self, name, value):
    """Writes a scalar for TensorBoard, and notes it for the row of the step."""
    tf.summary.scalar(name, value)
    self._row[name] = float(value)

  def _write_losses(self, records, charts):
    """Writes each loss over all t and over each quarter of them, weighted as if t were uniform."""
    quartile = records.t * _QUARTILES // self._config.diffusion.diffusion_steps
    for name, chart in charts:
      values = getattr(records, name)
      self._scalar(chart, np.mean(values * records.weights))
      for q in range(_QUARTILES):
        if np.any(quartile == q):
          weights = records.weights[quartile == q]
          self._scalar(
            f"{name}_by_quartile/q{q}", np.average(values[quartile == q], weights=weights)
          )

  def _write_noise_scale(self, records):
    """Writes `gradient_noise_scale` in images: tr(Sigma) / |G|^2 of the objective's gradient.

    Numerator and denominator are averages over the steps since the last point, and the point is
    their ratio. (A mean of ratios would be biased, and steps whose |G|^2 is near 0 would dominate
    it.) There is no point where the averaged |G|^2 is not positive. The averages themselves are
    always written, so that they can be averaged further. A batch in one part on one device measures
    nothing.
    """
    batch_size = self._config.training.batch_size
    if self._part_size == batch_size:
      return
    small = np.mean(records.part_squared_norm, dtype=np.float64)
    big = np.mean(np.square(records.grad_norm, dtype=np.float64))
    averages = noise_scale.estimates(
      small=small, big=big, small_batch=self._part_size, big_batch=batch_size
    )
    self._scalar("gradient_noise/squared_norm", averages.squared_norm)
    self._scalar("gradient_noise/trace_of_covariance", averages.trace)
    scale = noise_scale.simple_noise_scale(averages)
    if scale is not None:
      self._scalar("gradient_noise_scale", scale)


def _table(history: tuple[config_lib.Change, ...]) -> str:
  """Returns changes of settings as a table in Markdown."""
  rows = [
    f"| {change.step} | {change.setting} | {settings.shown(change.old)} | "
    f"{settings.shown(change.new)} |"
    for change in history
  ]
  return "\n".join(["| step | setting | from | to |", "| --- | --- | --- | --- |", *rows])


def _flat(config: config_lib.Config) -> dict[str, Any]:
  """Returns the configuration as TensorBoard's hyperparameters: numbers, booleans and strings."""
  flat = {}
  for section in config_lib.sections():
    for name, value in dataclasses.asdict(getattr(config, section)).items():
      simple = isinstance(value, (bool, int, float, str))
      flat[f"{section}.{name}"] = value if simple else str(value)
  return flat
