"""The accuracy of a classifier in training on images that it is not trained on."""

from typing import Any

import numpy as np
import tensorflow as tf

from iddpm_tf.data import images as images_lib
from iddpm_tf.data import sources
from iddpm_tf.evaluation import results_log
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.networks import stateless
from iddpm_tf.training import periodic_evaluation
from iddpm_tf.training import state as state_lib
from iddpm_tf.training import tasks
from iddpm_tf.training import tensorboard
from iddpm_tf.utils import progress as progress_lib

_QUARTILES = 4
_BATCH_SIZE = 25  # Images at a time, each at four timesteps.
_SEED = 0  # Of timesteps and noise, which are the same in each evaluation.


class HeldOutAccuracy:
  """The loss and the accuracy of the raw weights on the split val if there is one, or test.

  Each image is classified at four timesteps, one in each quarter of the process. There is no
  evaluation where the data has no such split.
  """

  def __init__(
    self,
    state: state_lib.TrainState,
    folder: model_dir_lib.ModelDir,
    progress: progress_lib.Progress,
  ):
    """Loads the data, so that errors come before anything is written.

    Args:
      state: the state of the training.
      folder: the model folder.
      progress: shows the evaluations.

    Raises:
      InputError: the images or classes of the split are not those of the training.
    """
    self._state, self._folder, self._progress = state, folder, progress
    self._writer: tensorboard.Writer | None = None
    config = state.config
    self._split = sources.held_out_split(config.data) if config.evaluation.eval_every else None
    if self._split is None:
      return
    self._source = sources.load(config.data, self._split)
    sources.say_notes(self._source, progress)
    model_dir_lib.require_same_data(config, self._source, folder.path)
    available = len(self._source.images)
    self._count = min(config.evaluation.eval_examples or available, available)
    self._losses = tf.function(self._compute, autograph=False)

  def begin(self, writer: tensorboard.Writer) -> None:
    """Takes what shows the accuracy in TensorBoard."""
    self._writer = writer

  def missed(self, step: int) -> bool:
    """Returns whether the evaluation that was due at a step was not finished."""
    if self._split is None or not periodic_evaluation.is_due(self._state.config, step):
      return False
    return not any(
      line.get("training_step") == step and line.get("in_training")
      for line in results_log.read(self._folder.path)
    )

  def run(self, step: int, stop: periodic_evaluation.Stop) -> None:
    """Classifies the images, and writes the results.

    If `stop.signal` is set meanwhile, nothing is kept, and the resumed run evaluates again.

    Args:
      step: the step of the weights.
      stop: says whether to stop.
    """
    if self._split is None:
      return
    self._state.load_into_network(self._state.weights)
    t, parts = self._timesteps(), []
    with self._progress.bar(total=self._count, unit="image", description="held-out split") as bar:
      for start in range(0, self._count, _BATCH_SIZE):
        rows = slice(start, min(start + _BATCH_SIZE, self._count))
        labels = tf.constant(self._source.labels[rows], tf.int32)
        losses = self._losses(
          tf.constant(self._source.images[rows]), labels, tf.constant(t[rows]), tf.constant(start)
        )
        parts.append([values.numpy() for values in losses])
        bar.update(rows.stop - start)
        if stop.signal:
          return
    means = [np.mean(np.concatenate(values), axis=0) for values in zip(*parts)]  # [quartiles] each
    self._write(tasks.ClassifierLosses(*means), step)

  def _timesteps(self) -> np.ndarray:
    """Returns a timestep of each quarter for each image, int32 [count, quartiles]."""
    steps = self._state.config.diffusion.diffusion_steps
    bounds = np.arange(_QUARTILES + 1) * steps // _QUARTILES
    low, high = bounds[:-1], np.maximum(bounds[1:], bounds[:-1] + 1)
    rng = np.random.RandomState(_SEED)
    t = rng.randint(low, high, (self._count, _QUARTILES), np.int32)
    return np.minimum(t, steps - 1)

  def _compute(self, image, label, t, start):
    """Returns the losses of some images, [B, quartiles] each.

    Args:
      image: uint8 [B, H, W, C].
      label: int32 [B].
      t: a timestep of each quarter, int32 [B, quartiles].
      start: the number of the first of the images, int32 [].
    """
    process, network = self._state.diffusion.process, self._state.network
    # [B, ...] -> [B * quartiles, ...], so that the graph has the network once.
    x_start = tf.repeat(images_lib.to_unit_range(image), _QUARTILES, axis=0)
    t = tf.reshape(t, [-1])
    noise = tf.random.stateless_normal(tf.shape(x_start), tf.stack([_SEED, start]), alg="philox")
    x_t, network_t = process.q_sample(x_start, t, noise), process.network_timesteps(t)
    weights = stateless.cast_weights(network)
    logits = stateless.call_network(network, x_t, network_t, weights=weights)
    losses = tasks.classifier_losses(logits, tf.repeat(label, _QUARTILES))
    return tuple(tf.reshape(values, [-1, _QUARTILES]) for values in losses)

  def _write(self, means: tasks.ClassifierLosses, step: int) -> None:
    """Writes the results of an evaluation: of all timesteps, and of each quarter of them."""
    scores: dict[str, Any] = {name: float(np.mean(values)) for name, values in _named(means)}
    for name, values in _named(means):
      scores |= {f"{name}_q{q}": float(value) for q, value in enumerate(values)}
    result = {
      "model": str(self._folder),
      "training_step": step,
      "ema": 0.0,
      "seed": _SEED,
      "in_training": True,
      "split": self._split,
      "num_examples": self._count,
      "scores": scores,
    }
    results_log.append(self._folder.path, result)
    assert self._writer is not None, "an evaluation before `begin`"
    self._writer.write_values(scores, "evaluation", "raw", step)
    self._progress.say(
      f"step {step}: accuracy {scores['accuracy']:.1%} on {self._count} {self._split} images "
      f"(by quarters of t: {', '.join(f'{value:.0%}' for value in means.accuracy)})"
    )


def _named(means: tasks.ClassifierLosses) -> list[tuple[str, np.ndarray]]:
  return list(zip(means._fields, means))
