"""Curves of a training: scalars in its TensorBoard files, and scores in its results log."""

import pathlib

import numpy as np
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.util import tensor_util

from iddpm_tf.evaluation import results_log
from iddpm_tf.models import model_dir


def scalars(folder: pathlib.Path, *names: str) -> tuple[np.ndarray, ...]:
  """Reads scalars of a model folder.

  A resumed training repeats the steps after its checkpoint. The newest value of each step counts.

  Args:
    folder: the model folder.
    *names: the names of the scalars.

  Returns:
    The steps that all scalars have, int `[N]`, then the values of each scalar, float64 `[N]`.

  Raises:
    ValueError: there is no scalar of a name.
  """
  accumulator = event_accumulator.EventAccumulator(
    str(model_dir.ModelDir(folder).tensorboard),
    size_guidance={event_accumulator.TENSORS: 0},
  )
  accumulator.Reload()
  curves = []
  for name in names:
    try:
      events = accumulator.Tensors(name)
    except KeyError:
      existing = ", ".join(accumulator.Tags()["tensors"])
      raise ValueError(f"{folder}: expected the scalar {name}, received {existing}") from None
    events = sorted(events, key=lambda event: event.wall_time)
    curves.append(
      {event.step: float(tensor_util.make_ndarray(event.tensor_proto)) for event in events}
    )
  steps = sorted(set.intersection(*map(set, curves)))
  return np.array(steps), *(np.array([curve[step] for step in steps]) for curve in curves)


def noise_averages(folder: pathlib.Path, first_step: float) -> tuple[float, float]:
  """Returns the averages of |G|^2 and tr(Sigma) over the steps after `first_step`."""
  steps, squared_norm, trace = scalars(
    folder, "gradient_noise/squared_norm", "gradient_noise/trace_of_covariance"
  )
  late = steps > first_step
  return float(np.mean(squared_norm[late])), float(np.mean(trace[late]))


def scores(folder: pathlib.Path) -> dict[int, dict[str, float]]:
  """Returns the scores that a training computed of its first moving average.

  Returns:
    `{training step: {name of the score: value}}`.
  """
  return next(iter(scores_by_rate(folder).values()))


def scores_by_rate(folder: pathlib.Path) -> dict[float, dict[int, dict[str, float]]]:
  """Returns the scores that a training computed of each of its moving averages.

  Returns:
    `{rate of the moving average: {training step: {name of the score: value}}}`.
  """
  by_rate: dict[float, dict[int, dict[str, float]]] = {}
  for result in results_log.read(folder):
    if result.get("in_training"):
      by_rate.setdefault(result["ema"], {})[result["training_step"]] = result["scores"]
  return by_rate
