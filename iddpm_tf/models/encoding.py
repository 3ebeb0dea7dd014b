"""Graphs that encode images as latents, and the network's prediction itself."""

import numpy as np
import tensorflow as tf

from iddpm_tf.data import images as images_lib
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion.samplers import ddim
from iddpm_tf.diffusion.samplers import loop
from iddpm_tf.models import trained_model
from iddpm_tf.utils import progress as progress_lib


def encode(
  model: trained_model.TrainedModel,
  images: np.ndarray,
  labels: np.ndarray | None,
  *,
  steps: int | None,
  batch_size: int,
  progress: progress_lib.Progress,
) -> np.ndarray:
  """Returns the latents x_T from which DDIM (eta = 0) draws nearly the same images.

  Song et al. (2020), section 4.3.

  Args:
    model: the model.
    images: uint8 `[N, H, W, C]`.
    labels: int32 `[N]`, or None for a model without classes.
    steps: DDIM's timesteps. None is all of the model's.
    batch_size: images at a time.
    progress: shows the evaluations of the network.

  Returns:
    float32 `[N, H, W, C]`.
  """
  config = model.config
  diffusion = ddim.DDIM(steps).respace(gaussian_diffusion.make_diffusion(config.diffusion))
  starts = range(0, len(images), batch_size)
  with progress.bar(total=diffusion.num_timesteps * len(starts), unit="step") as bar:
    on_step = loop.python_callback(lambda done: bar.update())

    @tf.function(autograph=False, reduce_retracing=True)
    def run(image, label):
      x_start = images_lib.to_unit_range(image)
      options = loop.LoopOptions(clip=config.sampling.clip_denoised, on_step=on_step)
      return loop.encode(model.model_fn_for(x_start, label), diffusion, x_start, options).image

    latents = []
    for start in starts:
      chosen = slice(start, start + batch_size)
      label = None if labels is None else tf.constant(labels[chosen])
      latents.append(run(tf.constant(images[chosen]), label).numpy())
  return np.concatenate(latents)


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
