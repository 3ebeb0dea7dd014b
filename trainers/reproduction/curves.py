"""Curves that training left: in TensorBoard's files, and as results of its evaluations."""

import numpy as np
from tensorboard.backend.event_processing import event_accumulator
import tensorflow as tf

from iddpm_tf.evaluation import results_log as results
from iddpm_tf.training import tensorboard as summaries


def scalars(folder, *names):
  """Scalars of a model folder by step: int [N], and float64 [N] for each name.

  A resumed run repeats the steps that were not saved: its later points hold.

  Raises:
    ValueError: no such scalar.
  """
  accumulator = event_accumulator.EventAccumulator(
    str(folder / summaries.FOLDER), size_guidance={event_accumulator.TENSORS: 0}
  )
  accumulator.Reload()
  found = []
  for name in names:
    try:
      events = accumulator.Tensors(name)
    except KeyError:
      raise ValueError(
        f"{folder}: expected {name} in its TensorBoard files, received "
        f"{', '.join(accumulator.Tags()['tensors'])}"
      ) from None
    newest = {
      event.step: float(tf.make_ndarray(event.tensor_proto))
      for event in sorted(events, key=lambda event: event.wall_time)
    }
    found.append(newest)
  steps = sorted(set.intersection(*map(set, found)))
  return np.array(steps), *(np.array([values[step] for step in steps]) for values in found)


def noise_averages(folder, first_step):
  """|G|^2 and tr(Sigma) of the gradient, each averaged over the steps from `first_step` on."""
  steps, squared_norm, trace = scalars(
    folder, "gradient_noise/squared_norm", "gradient_noise/trace_of_covariance"
  )
  return float(np.mean(squared_norm[steps > first_step])), float(np.mean(trace[steps > first_step]))


def scores(folder):
  """The scores that training itself took of its first moving average: {step: {name: number}}."""
  return next(iter(scores_by_rate(folder).values()))


def scores_by_rate(folder):
  """The same of each moving average: {rate: {step: {name: number}}}."""
  found = {}
  for line in results.read(folder):
    if line.get("in_training"):
      found.setdefault(line["ema"], {})[line["training_step"]] = line["scores"]
  return found
