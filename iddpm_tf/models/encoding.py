"""Graphs that encode images as latents, and the network's prediction itself."""

import numpy as np
import tensorflow as tf

from iddpm_tf.data import images as images_lib
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion.samplers import ddim
from iddpm_tf.diffusion.samplers import loop
from iddpm_tf.models import trained_model
from iddpm_tf.utils import progress as progress_lib


class Encoder:
  """Encodes images of one model as latents. Its graph is traced once."""

  def __init__(self, model: trained_model.TrainedModel, steps: int | None = None):
    """Prepares the graph.

    Args:
      model: the model.
      steps: DDIM's timesteps. None is all of the model's.

    Raises:
      InputError: no constant stride takes this many timesteps.
    """
    self._model = model
    diffusion = gaussian_diffusion.make_diffusion(model.config.diffusion)
    self._diffusion = ddim.DDIM(steps).respace(diffusion)
    self._bar: progress_lib.Bar | None = None
    self._on_step = loop.python_callback(self._update_bar)
    self._graph = tf.function(self._latents, autograph=False, reduce_retracing=True)

  def encode(
    self,
    images: np.ndarray,
    labels: np.ndarray | None,
    *,
    batch_size: int,
    progress: progress_lib.Progress,
  ) -> np.ndarray:
    """Returns the latents x_T from which DDIM (eta = 0) draws nearly the same images.

    Song et al. (2020), section 4.3.

    Args:
      images: uint8 `[N, H, W, C]`.
      labels: int32 `[N]`, or None for a model without classes.
      batch_size: images at a time.
      progress: shows the evaluations of the network.

    Returns:
      float32 `[N, H, W, C]`.
    """
    starts = range(0, len(images), batch_size)
    latents = []
    total = self._diffusion.num_timesteps * len(starts)
    with progress.bar(total=total, unit="step", description="encoding") as self._bar:
      for start in starts:
        chosen = slice(start, start + batch_size)
        label = None if labels is None else tf.constant(labels[chosen])
        latents.append(self._graph(tf.constant(images[chosen]), label).numpy())
    return np.concatenate(latents)

  def _latents(self, image, label):
    x_start = images_lib.to_unit_range(image)
    sampling = self._model.config.sampling
    options = loop.LoopOptions(
      clip=sampling.clip_denoised,
      dynamic_threshold=sampling.dynamic_threshold,
      on_step=self._on_step,
    )
    model_fn = self._model.model_fn_for(x_start, label)
    return loop.encode(model_fn, self._diffusion, x_start, options).image

  def _update_bar(self, done):
    del done
    if self._bar is not None:
      self._bar.update()


def predict(
  model: trained_model.TrainedModel,
  x_t: np.ndarray,
  t: np.ndarray,
  labels: np.ndarray | None,
  low_res: np.ndarray | None,
) -> np.ndarray:
  """Returns the network's output, float32 `[N, H, W, out_channels]`.

  Args:
    model: the model.
    x_t: noisy images, float32 `[N, H, W, C]`.
    t: timesteps, int32 `[N]`, from 0 to T - 1.
    labels: int32 `[N]`, or None for a model without classes.
    low_res: uint8 `[N, h, w, C]` for a super-resolution model.
  """
  diffusion = gaussian_diffusion.make_diffusion(model.config.diffusion)
  small = None if low_res is None else images_lib.to_unit_range(tf.constant(low_res))
  label = None if labels is None else tf.constant(labels)
  model_fn = model.model_fn(label, small)
  network_t = diffusion.process.network_timesteps(tf.constant(t, tf.int32))
  return model_fn(tf.constant(x_t, tf.float32), network_t).numpy()
