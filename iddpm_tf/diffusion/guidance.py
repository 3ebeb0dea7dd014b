"""Guidance by a class: without a classifier, and by the gradient of one."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion.process import at

# The scaled gradient of log p(label | x_t) by x_t, [B, H, W, C], as a function of x_t and of t,
# float32 [B], as the network sees it.
GradientFn = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
# The network with labels: output [B, H, W, C or 2 C] of x_t, t and label.
LabelledModelFn = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


class Classifier(Protocol):
  """A classifier of noisy images. Any object with these parts can guide a model."""

  @property
  def num_classes(self) -> int:
    """The number of classes."""

  @property
  def variables(self) -> Sequence[tf.Variable]:
    """The variables that `log_prob` uses, which an export holds."""

  def log_prob(self, x_t: tf.Tensor, t: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
    """Returns log p(label | x_t), float32 `[B]`, in nats.

    Args:
      x_t: noisy images, float32 `[B, H, W, C]`.
      t: timesteps as the network of the guided model sees them, float32 `[B]`.
      label: classes, int32 `[B]`.
    """


def classifier_free(
  model_fn: LabelledModelFn,
  diffusion: gaussian_diffusion.GaussianDiffusion,
  *,
  label: tf.Tensor,
  no_label: int,
  scale: tf.Tensor,
  interval: Sequence[float] | None = None,
) -> gaussian_diffusion.ModelFn:
  """Returns the network guided by its own difference with and without a label.

  eps = eps(label) + (scale - 1) (eps(label) - eps(no label)) (Ho & Salimans, 2022, Eq. 6, with
  scale = 1 + w). The variance is that with the label. A scale of 1 changes nothing, and 0 draws
  without the label. Both halves are one batch.

  Args:
    model_fn: the network.
    diffusion: the diffusion, whose network predicts eps or x_0; both are linear in the score.
    label: the classes, int32 `[B]`.
    no_label: the number that means no class.
    scale: the guidance scale of each image, float32 `[B]`.
    interval: the smallest and the largest noise level, sigma / alpha, at which there is guidance
      (Kynkäänniemi et al., 2024); None guides at all. Elsewhere the network is evaluated once.
  """
  process = diffusion.process
  factor = (scale - 1.0)[:, None, None, None]  # [B, 1, 1, 1]

  def guided(x_t, t):
    labels = tf.concat([label, tf.fill(tf.shape(label), no_label)], axis=0)  # [2 B]
    output = model_fn(tf.concat([x_t, x_t], axis=0), tf.concat([t, t], axis=0), labels)
    with_label, without = tf.split(output, 2)
    mean, variance = diffusion.split_output(with_label)
    other_mean, _ = diffusion.split_output(without)
    mean += factor * (mean - other_mean)
    return mean if variance is None else tf.concat([mean, variance], axis=-1)

  if interval is None:
    return guided
  levels = np.sqrt(1 / process.original_alphas_cumprod - 1)
  is_on = (interval[0] <= levels) & (levels <= interval[1])  # [T]

  def guided_in_interval(x_t, t):
    original = tf.cast(tf.round(t / process.timestep_scale), tf.int32)
    on = tf.gather(tf.constant(is_on), original)  # [B]

    def some():
      return tf.where(on[:, None, None, None], guided(x_t, t), model_fn(x_t, t, label))

    # In a loop, all images have one timestep.
    return tf.cond(
      tf.reduce_all(on),
      lambda: guided(x_t, t),
      lambda: tf.cond(tf.reduce_any(on), some, lambda: model_fn(x_t, t, label)),
    )

  return guided_in_interval


def classifier_gradient(classifier: Classifier, label: tf.Tensor, scale: tf.Tensor) -> GradientFn:
  """Returns scale times the gradient of log p(label | x_t) by x_t.

  Args:
    classifier: the classifier.
    label: the classes, int32 `[B]`.
    scale: the guidance scale of each image, float32 `[B]`.
  """

  def gradient_fn(x_t, t):
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(x_t)
      # The images of a batch do not depend on each other, so that the gradient of the sum holds the
      # gradient of each.
      total = tf.reduce_sum(classifier.log_prob(x_t, t, label))
    gradient = tape.gradient(total, x_t, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return scale[:, None, None, None] * gradient

  return gradient_fn


def shift_mean(
  diffusion: gaussian_diffusion.GaussianDiffusion,
  prediction: gaussian_diffusion.Prediction,
  gradient: tf.Tensor,
  x_t: tf.Tensor,
  t: tf.Tensor,
) -> gaussian_diffusion.Prediction:
  """Returns a prediction whose mean is shifted by variance * gradient, for ancestral sampling.

  Dhariwal & Nichol (2021), Algorithm 1.

  Args:
    diffusion: the diffusion.
    prediction: what the network predicts at t.
    gradient: the gradient of a classifier, `[B, H, W, C]`.
    x_t: `[B, H, W, C]`.
    t: timesteps of the process, int32 `[B]`.
  """
  del diffusion, x_t, t
  mean = prediction.mean + tf.exp(prediction.log_variance) * gradient
  return prediction._replace(mean=mean)


def shift_score(
  diffusion: gaussian_diffusion.GaussianDiffusion,
  prediction: gaussian_diffusion.Prediction,
  gradient: tf.Tensor,
  x_t: tf.Tensor,
  t: tf.Tensor,
) -> gaussian_diffusion.Prediction:
  """Returns a prediction with eps - sqrt(1 - alpha bar) * gradient, for samplers without a mean.

  Dhariwal & Nichol (2021), Algorithm 2. The predicted x_0 changes by (1 - alpha bar) /
  sqrt(alpha bar) * gradient, and is not clipped again. The arguments are those of `shift_mean`.
  """
  alpha = diffusion.process.alphas_cumprod
  x_start = prediction.x_start + at((1 - alpha) / np.sqrt(alpha), t) * gradient
  mean = diffusion.process.q_posterior(x_start, x_t, t).mean
  return prediction._replace(x_start=x_start, mean=mean)
