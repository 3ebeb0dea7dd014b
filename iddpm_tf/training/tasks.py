"""Defines what a training trains: a diffusion model, or a noisy classifier.

A task is the part of a training that knows what the network's output means. It has the losses of a
batch, what a step records of them, and when they say that the training diverges.
"""

from collections.abc import Sequence
import math
from typing import Any
from typing import NamedTuple
from typing import Protocol

import numpy as np
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.data import images as images_lib
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion import losses as losses_lib
from iddpm_tf.networks.encoder import Encoder
from iddpm_tf.networks.stateless import call_network

# The prediction 0 has an error of about 1, and a network without training makes it.
MAX_ERROR = 10.0


class Batch(NamedTuple):
  """The inputs of a step's losses. `N` is the number of images."""

  image: tf.Tensor  # float32 [N, H, W, C] in [-1, 1].
  label: tf.Tensor  # int32 [N].
  t: tf.Tensor  # int32 [N].
  noise: tf.Tensor  # float32 [N, H, W, C].


class Task(Protocol):
  """Defines what a training trains.

  Attributes:
    losses: the class of the losses of each image: a NamedTuple whose first field is `loss`.
    terms: the fields of `losses` whose large values are faults.
    charts: each field of `losses`, and the chart in TensorBoard of its mean.
  """

  losses: type[Any]
  terms: tuple[str, ...]
  charts: tuple[tuple[str, str], ...]

  def compute(
    self,
    network: Encoder,
    batch: Batch,
    weights: Sequence[tf.Tensor],
    dropout_seed: tf.Tensor | None,
  ) -> Any:
    """Returns the losses of each image, float32 [N] each; in a gradient tape.

    Args:
      network: the built network.
      batch: the images with their timesteps and noise.
      weights: the weights of the network, in the types in which it uses them.
      dropout_seed: the seed of dropout's masks, int64 [2]; None where nothing is dropped.
    """

  def why_diverged(self, records: Sequence[Any]) -> str | None:
    """Returns why the losses of the last steps are too large to go on, or None.

    Args:
      records: the records of steps that were taken, with NumPy arrays.
    """


class DiffusionTask:
  """Trains a diffusion model on the objective of its `DiffusionConfig`."""

  losses: type[Any] = losses_lib.Losses
  terms: tuple[str, ...] = ("mse", "vlb")
  charts: tuple[tuple[str, str], ...] = (
    ("loss", "loss/loss"),
    ("mse", "loss/mse"),
    ("vlb", "loss/vlb"),
  )

  def __init__(
    self, config: config_lib.Config, diffusion: gaussian_diffusion.GaussianDiffusion
  ) -> None:
    self._config, self._diffusion = config, diffusion

  def compute(
    self,
    network: Encoder,
    batch: Batch,
    weights: Sequence[tf.Tensor],
    dropout_seed: tf.Tensor | None,
  ) -> losses_lib.Losses:
    """Returns the losses of each image; see `Task.compute`."""
    config, process = self._config, self._diffusion.process
    x_t = process.q_sample(batch.image, batch.t, batch.noise)
    low = config.network.low_res_size
    output = call_network(
      network,
      x_t,
      process.network_timesteps(batch.t),
      batch.label if config.network.class_conditional else None,
      low_res=images_lib.area_downsample(batch.image, low) if low else None,
      weights=weights,
      dropout_seed=dropout_seed if config.network.dropout else None,
      remat=config.training.remat,
    )
    return losses_lib.training_losses(
      self._diffusion, output, x_start=batch.image, x_t=x_t, t=batch.t, noise=batch.noise
    )

  def why_diverged(self, records: Sequence[Any]) -> str | None:
    """Returns a text if the predictions were far worse than the prediction 0, otherwise None."""
    errors = [np.mean(record.mse * record.weights) for record in records]
    if not errors or np.mean(errors) <= MAX_ERROR:
      return None
    return (
      f"the mean squared error of the last {len(errors)} steps is {np.mean(errors):.3g}, and "
      "that of the prediction 0 is about 1"
    )


class ClassifierLosses(NamedTuple):
  """Losses of each image, each `[N]`."""

  loss: tf.Tensor  # -log p(y | x_t), nats.
  accuracy: tf.Tensor  # 1 where the most probable class is the label, otherwise 0.


class ClassifierTask:
  """Trains a classifier of noisy images (Dhariwal & Nichol, 2021, section 4.3) by cross-entropy."""

  losses: type[Any] = ClassifierLosses
  terms: tuple[str, ...] = ("loss",)
  charts: tuple[tuple[str, str], ...] = (("loss", "loss/loss"), ("accuracy", "accuracy/train"))

  def __init__(
    self, config: config_lib.Config, diffusion: gaussian_diffusion.GaussianDiffusion
  ) -> None:
    self._config, self._process = config, diffusion.process

  def compute(
    self,
    network: Encoder,
    batch: Batch,
    weights: Sequence[tf.Tensor],
    dropout_seed: tf.Tensor | None,
  ) -> ClassifierLosses:
    """Returns the losses of each image; see `Task.compute`."""
    config = self._config
    logits = call_network(
      network,
      self._process.q_sample(batch.image, batch.t, batch.noise),
      self._process.network_timesteps(batch.t),
      weights=weights,
      dropout_seed=dropout_seed if config.network.dropout else None,
      remat=config.training.remat,
    )
    return classifier_losses(logits, batch.label)

  def why_diverged(self, records: Sequence[Any]) -> str | None:
    """Returns a text if the classes were far worse than guessed, otherwise None."""
    losses = [np.mean(record.loss * record.weights) for record in records]
    guessed = math.log(self._config.data.num_classes)
    if not losses or np.mean(losses) <= MAX_ERROR * guessed:
      return None
    return (
      f"the mean cross-entropy of the last {len(losses)} steps is {np.mean(losses):.3g}, and that "
      f"of a guess is {guessed:.3g}"
    )


def classifier_losses(logits: tf.Tensor, label: tf.Tensor) -> ClassifierLosses:
  """Returns the cross-entropy and the accuracy of each image.

  Args:
    logits: float32 `[N, classes]`.
    label: int32 `[N]`.
  """
  loss = tf.nn.sparse_softmax_cross_entropy_with_logits(label, logits)
  correct = tf.argmax(logits, axis=-1, output_type=tf.int32) == label
  return ClassifierLosses(loss, tf.cast(correct, tf.float32))


def make_task(config: config_lib.Config, diffusion: gaussian_diffusion.GaussianDiffusion) -> Task:
  """Returns the task of a configuration.

  Args:
    config: the configuration.
    diffusion: its process and objective.
  """
  return (
    ClassifierTask(config, diffusion) if config.is_classifier else DiffusionTask(config, diffusion)
  )
