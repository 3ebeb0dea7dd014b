"""An estimate of the variational bound over all timesteps, from a part of its terms."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from iddpm_tf.data import arrays
from iddpm_tf.data import images as images_lib
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion import likelihood
from iddpm_tf.diffusion import likelihood_estimator
from iddpm_tf.diffusion import losses
from iddpm_tf.diffusion.samplers import loop
from iddpm_tf.evaluation.nll import config as nll_config
from iddpm_tf.evaluation.nll import full_sum
from iddpm_tf.models import trained_model
from iddpm_tf.utils import progress as progress_lib
from iddpm_tf.utils import shared_batches

# The stream of the noise. The full sum numbers its images from 0 in another stream, as this module
# numbers its evaluations.
_STREAM = 2


class BoundEstimate(NamedTuple):
  """An estimate of the mean bound of images, and where it is from."""

  bits_per_dim: float  # The prior and the estimated sum of all terms.
  stderr: float  # Standard error of estimating the full sum over these images.
  prior: float  # The mean of L_T over the images, which is exact.
  plan: likelihood_estimator.Plan  # The result of the pilot.
  terms: likelihood_estimator.Estimate  # The last estimate of the sum of the terms.


class Estimator:
  """Estimates the mean bound of given images by one model. The graph is traced once.

  Attributes:
    count: the number of images.
    num_timesteps: the number of timesteps of the model.
  """

  def __init__(
    self,
    model: trained_model.TrainedModel,
    images: arrays.Images,
    labels: np.ndarray | Sequence[int] | None = None,
    *,
    count: int | None = None,
    batch_size: int = 100,
    shared: shared_batches.SharedBatches | None = None,
  ):
    """Prepares the graph.

    Args:
      model: the model.
      images: uint8 `[N, H, W, C]`, an array or anything that is indexed like one.
      labels: integers `[N]`; None for a model without classes.
      count: the number of images to evaluate, from the first on. None is all.
      batch_size: evaluations of the network at a time.
      shared: where several processes, which make the same calls, share their evaluations. All of
        them get the same estimate. None evaluates everything here.

    Raises:
      InputError: the images are not of the model's shape, or the labels are not its classes.
    """
    image_shape = model.config.image_shape
    self._model, self._batch_size = model, batch_size
    self._shared, self._calls = shared, 0
    self._diffusion = gaussian_diffusion.make_diffusion(model.config.diffusion)
    self._images = arrays.require_images(images, image_shape)
    self._labels = full_sum.network_labels(labels, len(images), model.config)
    self.count = len(images) if count is None else count
    self.num_timesteps = self._diffusion.num_timesteps
    self._function = tf.function(
      self._terms,
      autograph=False,
      input_signature=[
        tf.TensorSpec([None, *image_shape], tf.uint8),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None], tf.int64),
      ],
    )

  @property
  def full_sum_evaluations(self) -> int:
    """The number of evaluations of the network that the full sum takes."""
    return self.count * self.num_timesteps

  def estimate(
    self, nll_stderr: float, *, seed: int = 0, progress: progress_lib.Progress
  ) -> BoundEstimate:
    """Estimates the bound until its standard error is small enough.

    The number of evaluations of the network is at most about that of the full sum.

    Args:
      nll_stderr: the standard error to reach, bits/dim.
      seed: the seed of the timesteps, the images and the noise.
      progress: shows the evaluations of the network.

    Raises:
      InputError: a standard error that is too small, or a term that is not finite.
    """
    nll_config.require_stderr(nll_stderr)
    limit = self.full_sum_evaluations
    least = likelihood_estimator.least_evaluations(self.num_timesteps)
    with progress.bar(total=least, unit="evaluation") as bar:

      def evaluate(t, image, key):
        return self.terms(t, image, key, seed=seed, on_batch=bar.update)

      plan = likelihood_estimator.make_plan(evaluate, self.num_timesteps, self.count, seed=seed)
      bar.total = min(limit, plan.evaluations + int(plan.variance / nll_stderr**2))
      for terms in likelihood_estimator.estimates(
        evaluate, plan, self.count, target=nll_stderr, limit=limit, seed=seed
      ):
        bar.total = max(min(limit, terms.expected), terms.evaluations)
        bar.set_postfix_str(f"standard error {terms.stderr:.4f}")
    prior = self.prior_mean()
    return BoundEstimate(prior + terms.total, terms.stderr, prior, plan, terms)

  def terms(
    self,
    t: np.ndarray,
    image: np.ndarray,
    key: np.ndarray,
    *,
    seed: int,
    on_batch: Callable[[int], object] | None = None,
  ) -> np.ndarray:
    """Evaluates single terms of the bound.

    The noise of an evaluation depends on its key and the seed, and not on the batch.

    Args:
      t: timesteps, int32 `[n]`.
      image: positions of the images, int32 `[n]`.
      key: numbers of the evaluations, int64 `[n]`, from 0 on.
      seed: the seed of the noise.
      on_batch: called with the number of evaluations in each batch.

    Returns:
      The terms in bits/dim, float32 `[n]`.
    """

    def batches(starts):
      for start in starts:
        part = slice(start, start + self._batch_size)
        chosen = image[part]
        seeds = key[part] + (seed << 32)
        terms = self._function(self._images[chosen], self._labels[chosen], t[part], seeds)
        yield (terms.numpy(),)
        if on_batch is not None:
          on_batch(len(chosen))

    starts = range(0, len(t), self._batch_size)
    if self._shared is None:
      return np.concatenate([terms for (terms,) in batches(starts)])
    name = f"terms_{self._calls:06d}"
    self._calls += 1
    # The next evaluations depend on these, so every worker needs all of them.
    self._shared.share(name, starts, self._batch_size, batches, for_all=True)
    (terms,) = self._shared.load(name, starts)
    return terms

  def prior_mean(self) -> float:
    """Returns the mean of L_T over the images in bits/dim, which needs no network."""
    total = 0.0
    for start in range(0, self.count, self._batch_size):
      batch = self._images[start : min(start + self._batch_size, self.count)]
      x_start = images_lib.to_unit_range(tf.constant(batch))
      total += float(tf.reduce_sum(losses.prior_term(self._diffusion.process, x_start)))
    return total / self.count

  def _terms(self, image, label, t, seeds):
    """Maps uint8 [B, H, W, C], int32 [B], int32 [B] and int64 [B] to float32 [B]."""
    config = self._model.config
    x_start = images_lib.to_unit_range(image)
    noise = loop.seeded_noise(seeds, config.image_shape, _STREAM)(0)
    return likelihood.evaluate(
      self._model.model_fn_for(x_start, label),
      self._diffusion,
      x_start,
      t,
      noise,
      clip=config.sampling.clip_denoised,
    ).term
