"""The variational bound of images with every term of a process (Eq. 4), in bits/dim."""

from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.data import arrays
from iddpm_tf.data import images as images_lib
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion import likelihood
from iddpm_tf.diffusion import respacing
from iddpm_tf.diffusion.samplers import loop
from iddpm_tf.evaluation.nll import config as nll_config
from iddpm_tf.models import trained_model
from iddpm_tf.utils import progress as progress_lib


class FullSum:
  """The bound of images by one model, with every timestep of a process.

  The graph is traced once. It reads the variables of the model's network, so that other values of
  them are evaluated without another trace.

  Attributes:
    model: the model.
    diffusion: the diffusion, whose timesteps are evaluated.
  """

  def __init__(
    self,
    model: trained_model.TrainedModel,
    diffusion: gaussian_diffusion.GaussianDiffusion | None = None,
  ):
    """Prepares the graph.

    Args:
      model: the model.
      diffusion: its diffusion, perhaps on fewer timesteps (see `respaced_diffusion`). None is on
        all timesteps.
    """
    config = model.config
    self.model = model
    self.diffusion = diffusion or gaussian_diffusion.make_diffusion(config.diffusion)
    self._bar: progress_lib.Bar | None = None
    self._on_step = loop.python_callback(self._update_bar)
    self._function = tf.function(
      self._bits_per_dim,
      autograph=False,
      input_signature=[
        tf.TensorSpec([None, *config.image_shape], tf.uint8),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None], tf.int64),
        tf.TensorSpec([], tf.int32),
      ],
    )

  def bits_per_dim(
    self,
    images: arrays.Images,
    labels: np.ndarray | Sequence[int] | None = None,
    *,
    count: int | None = None,
    seed: int = 0,
    batch_size: int = 100,
    progress: progress_lib.Progress,
  ) -> likelihood.BitsPerDim:
    """Returns the bound of images, in NumPy arrays; see `batches`."""
    parts = self.batches(
      images, labels, count=count, seed=seed, batch_size=batch_size, progress=progress
    )
    return likelihood.BitsPerDim(*(np.concatenate(columns) for columns in zip(*parts)))

  def batches(
    self,
    images: arrays.Images,
    labels: np.ndarray | Sequence[int] | None = None,
    *,
    count: int | None = None,
    seed: int = 0,
    batch_size: int = 100,
    starts: Sequence[int] | None = None,
    progress: progress_lib.Progress,
  ) -> Iterator[likelihood.BitsPerDim]:
    """Yields the bound of each batch of images.

    The noise of an image depends on its position and the seed, and not on the batch.

    Args:
      images: uint8 `[N, H, W, C]`, an array or anything that is indexed like one.
      labels: integers `[N]`; None for a model without classes.
      count: the number of images to evaluate, from the first on. None is all.
      seed: the seed of the noise.
      batch_size: images at a time. Each call of the network evaluates fewer images than that at
        several timesteps.
      starts: the positions of the images at which the batches begin; None: all that there are.
      progress: shows the evaluations of the network.

    Raises:
      InputError: the images are not of the model's shape, or the labels are not its classes.
    """
    images = arrays.require_images(images, self.model.config.image_shape)
    labels = network_labels(labels, len(images), self.model.config)
    count = len(images) if count is None else count
    starts = range(0, count, batch_size) if starts is None else starts
    chosen = [slice(start, min(start + batch_size, count)) for start in starts]
    timesteps = [self._timesteps_at_a_time(each.stop - each.start, batch_size) for each in chosen]
    return self._batches(images, labels, list(zip(chosen, timesteps)), seed, progress)

  def _timesteps_at_a_time(self, count, batch_size):
    return min(max(1, batch_size // count), self.diffusion.num_timesteps)

  def _batches(self, images, labels, parts, seed, progress):
    steps = self.diffusion.num_timesteps
    total = sum(likelihood.num_calls(steps, timesteps) for _, timesteps in parts)
    with progress.bar(total=total, unit="step") as self._bar:
      for chosen, timesteps in parts:
        seeds = tf.range(chosen.start, chosen.stop, dtype=tf.int64) + (seed << 32)
        results = self._function(images[chosen], labels[chosen], seeds, timesteps)
        yield likelihood.BitsPerDim(*(column.numpy() for column in results))

  def _bits_per_dim(self, image, label, seeds, timesteps_at_a_time):
    """Maps uint8 [B, H, W, C], int32 [B], int64 [B] and an int32 to `BitsPerDim`."""
    config = self.model.config
    noise_fn = loop.seeded_noise(seeds, config.image_shape)
    x_start = images_lib.to_unit_range(image)
    network_fn = self.model.model_fn_for(
      tf.tile(x_start, [timesteps_at_a_time, 1, 1, 1]), tf.tile(label, [timesteps_at_a_time])
    )

    def model_fn(x_t, t):
      self._on_step(0)
      return network_fn(x_t, t)

    return likelihood.bits_per_dim(
      model_fn,
      self.diffusion,
      x_start,
      noise_fn,
      clip=config.sampling.clip_denoised,
      timesteps_at_a_time=timesteps_at_a_time,
    )

  def _update_bar(self, done):
    del done
    if self._bar is not None:
      self._bar.update()


def respaced_diffusion(
  config: config_lib.DiffusionConfig, steps: int = 0, schedule: str = "dense_start"
) -> gaussian_diffusion.GaussianDiffusion:
  """Returns the diffusion on the timesteps at which the bound is evaluated (Appendix E).

  Args:
    config: the configuration of the diffusion.
    steps: the number of timesteps K; 0 is all.
    schedule: `strided` for K evenly spaced timesteps, `dense_start` for these and every t < T/K.

  Raises:
    InputError: the process has fewer timesteps, or there is no such schedule.
  """
  nll_config.require_steps(steps, config.diffusion_steps)
  nll_config.require_schedule(schedule)
  diffusion = gaussian_diffusion.make_diffusion(config)
  if not steps:
    return diffusion
  if schedule == "dense_start":
    return diffusion.respaced(respacing.likelihood_timesteps(diffusion.num_timesteps, steps))
  return diffusion.respaced(respacing.space_timesteps(diffusion.num_timesteps, str(steps)))


def network_labels(
  labels: np.ndarray | Sequence[int] | None, count: int, config: config_lib.Config
) -> np.ndarray:
  """Returns the labels that a graph takes, int32 `[count]`: zeros for a model without classes.

  Raises:
    InputError: the labels are not the model's classes.
  """
  checked = arrays.require_labels(labels, count, config.num_classes)
  return np.zeros(count, np.int32) if checked is None else checked


def mean_and_stderr(values: np.ndarray) -> tuple[float, float | None]:
  """Returns the mean of one value per image, `[N]`, and its standard error over the images.

  The standard error of a single image is unknown, None.
  """
  mean = float(np.mean(values, dtype=np.float64))
  if len(values) < 2:
    return mean, None
  return mean, float(np.std(values, ddof=1) / np.sqrt(len(values)))
