"""What TensorBoard shows, and the line beside the progress bar."""

import dataclasses

import numpy as np
from tensorboard.plugins.hparams import api as hparams
import tensorflow as tf

from iddpm_tf.training import noise_scale
from iddpm_tf.training import train_step

FOLDER = "tensorboard"
_QUARTILES = 4


class Writer:
  """Gathers the records of steps and writes their means."""

  def __init__(self, folder, config, first_step, part_size):
    """`part_size`: images of a replica's microbatch, as `StepRecord.part_squared_norm` is of."""
    self._config, self._part_size = config, part_size
    self._writer = tf.summary.create_file_writer(str(folder / FOLDER))
    self._records, self._seconds = [], 0.0
    with self._writer.as_default(step=first_step):
      hparams.hparams(_flat(config))
      tf.summary.text("config", f"```\n{config.to_json()}\n```")

  def add(self, records, seconds):
    """A `StepRecord` of NumPy arrays [steps, batch size], and how long these steps took."""
    self._records.append(records)
    self._seconds += seconds

  def write(self, step, state):
    """Writes what has come since the last time; a short line about it."""
    records = train_step.StepRecord(*map(np.concatenate, zip(*self._records)))
    rate = records.t.size / self._seconds
    self._records, self._seconds = [], 0.0
    with self._writer.as_default(step=step):
      self._write_losses(records)
      tf.summary.histogram("timesteps/drawn", records.t.ravel())
      tf.summary.histogram(
        "timesteps/probability_times_T",
        state.timestep_sampler.probabilities() * self._config.diffusion.diffusion_steps,
      )
      self._write_noise_scale(records)
      tf.summary.scalar("norm/gradients", np.mean(records.grad_norm))
      tf.summary.scalar(
        "norm/weights",
        tf.linalg.global_norm([variable.value for variable in state.network.trainable_variables]),
      )
      tf.summary.scalar("learning_rate", state.optimizer.learning_rate)
      tf.summary.scalar("images_per_second", rate)
    self._writer.flush()
    return f"loss {np.mean(records.loss * records.weights):.4f}, {rate:.0f} images/s"

  def write_scores(self, scores, weights, step):
    """Scores {name: number} of the weights of that name, such as `ema_0.9999`: the rates share a chart."""
    with self._writer.as_default(step=step):
      for name, value in scores.items():
        tf.summary.scalar(f"evaluation_{name}/{weights}", value)
    self._writer.flush()

  def write_images(self, name, grid, step):
    """A picture, uint8 [H, W, C]."""
    with self._writer.as_default(step=step):
      tf.summary.image(name, grid[None])
    self._writer.flush()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._writer.close()

  def _write_losses(self, records):
    """Each loss, over all t and over each quarter of them, whatever the distribution of t in training."""
    quartile = records.t * _QUARTILES // self._config.diffusion.diffusion_steps
    for name in ("loss", "mse", "vlb"):
      values = getattr(records, name)
      tf.summary.scalar(f"loss/{name}", np.mean(values * records.weights))
      for q in range(_QUARTILES):
        if np.any(quartile == q):
          weights = records.weights[quartile == q]
          tf.summary.scalar(
            f"{name}_by_quartile/q{q}", np.average(values[quartile == q], weights=weights)
          )

  def _write_noise_scale(self, records):
    """`gradient_noise_scale`, images: tr(Sigma) / |G|^2 of the gradient of the objective as it is trained.

    Both are averages over the steps since the last point, and the point is their ratio (a mean of ratios would be
    biased, and ruled by the steps whose |G|^2 is near 0). Where the averaged |G|^2 is not positive there is no
    point. The averages themselves are always written, so that they can be averaged further. A batch in one part
    does not tell, and writes nothing.
    """
    batch_size = self._config.training.batch_size
    if self._part_size == batch_size:
      return
    small = np.mean(records.part_squared_norm, dtype=np.float64)
    big = np.mean(np.square(records.grad_norm, dtype=np.float64))
    averages = noise_scale.estimates(
      small=small, big=big, small_batch=self._part_size, big_batch=batch_size
    )
    tf.summary.scalar("gradient_noise/squared_norm", averages.squared_norm)
    tf.summary.scalar("gradient_noise/trace_of_covariance", averages.trace)
    scale = noise_scale.simple_noise_scale(averages)
    if scale is not None:
      tf.summary.scalar("gradient_noise_scale", scale)


def _flat(config):
  """The configuration as TensorBoard's hyperparameters: numbers, booleans and strings."""
  flat = {}
  for section, values in dataclasses.asdict(config).items():
    for name, value in values.items():
      simple = isinstance(value, (bool, int, float, str))
      flat[f"{section}.{name}"] = value if simple else str(value)
  return flat
