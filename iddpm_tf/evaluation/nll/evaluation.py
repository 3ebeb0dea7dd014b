"""The likelihood of a data set's images by a model, written to files."""

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import functools
import os
import pathlib
from typing import Any

import numpy as np

import iddpm_tf
from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import arrays
from iddpm_tf.data import image_files
from iddpm_tf.data import sources
from iddpm_tf.diffusion import likelihood
from iddpm_tf.diffusion import likelihood_estimator
from iddpm_tf.evaluation import results_log
from iddpm_tf.evaluation.nll import config as nll_config
from iddpm_tf.evaluation.nll import estimate
from iddpm_tf.evaluation.nll import full_sum
from iddpm_tf.evaluation.nll import results
from iddpm_tf.models import model_dir
from iddpm_tf.models import trained_model
from iddpm_tf.utils import cluster
from iddpm_tf.utils import files
from iddpm_tf.utils import progress as progress_lib
from iddpm_tf.utils import shared_batches


class NllEvaluation:
  """An evaluation of the bound over a split of the model's data, ready to run.

  Attributes:
    model: the model.
    source: the split.
    config: how the bound is evaluated; its `num_examples` is the number of images.
  """

  def __init__(
    self,
    model: trained_model.TrainedModel,
    config: nll_config.NllConfig,
    *,
    images: str | os.PathLike[str] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    workers: cluster.Cluster | None = None,
    progress: progress_lib.Progress,
  ):
    """Loads the data and checks everything.

    Args:
      model: the model. Its configuration says which data, and which decoder.
      config: how the bound is evaluated.
      images: images in any form that `image_files.read` knows. None takes the split of the model's
        data that `config` names.
      output_dir: the folder of the results. None is the model folder, with its folder of
        evaluations for the JSON file and the plot.
      workers: the processes that evaluate together; each takes a part of the batches, and the chief
        writes the result, which is that of one process, bit for bit. None: this process is alone.
      progress: shows the results and the evaluations of the network.

    Raises:
      InputError: the data is not there or is not the model's, there are fewer images or timesteps
        than `config` says, or the folder cannot be written.
    """
    nll_config.require_steps(config.nll_steps, model.config.diffusion.diffusion_steps)
    if images is None:
      self.source = sources.load(model.config.data, config.split)
      if config.split == "train":
        max_examples = model.config.training.max_examples
        self.source = sources.with_at_most(self.source, max_examples)
      sources.say_notes(self.source, progress)
      model_dir.require_same_data(model.config, self.source, model.folder.path)
      self._name = f"{config.split} images of {self.source.name}"
    else:
      self.source = _source(images, model.config)
      self._name = f"images of {images}"
    self._has_own_images = images is not None
    available = len(self.source.images)
    settings.require(
      config.num_examples <= available,
      "num_examples",
      f"at most {available}, the {self._name}",
      config.num_examples,
    )
    self.model = model
    self.config = dataclasses.replace(config, num_examples=config.num_examples or available)
    self._workers, self._progress = workers, progress
    self._log_folder = pathlib.Path(output_dir or model.folder.path)
    results_log.require_writable(self._log_folder)
    self._folder = files.make_folder(output_dir or model.folder.evaluations)

  def run(self) -> dict[str, Any] | None:
    """Evaluates the bound, writes the result, adds it to the results log, and returns it.

    A worker besides the chief evaluates its part, and returns None.
    """
    if self._workers is None:
      return self._run(None)
    shared = shared_batches.SharedBatches(
      self._folder, self._key(), self._workers, progress=self._progress
    )
    try:
      result = self._run(shared)
    except shared_batches.ChiefFinished as finished:
      self._progress.say(f"note: {finished}")
      return None
    if self._workers.is_chief:
      shared.clear()
    return result

  def _key(self) -> list[Any]:
    """Returns all that the batches depend on, as JSON."""
    return [
      self.model.config.to_json(),
      self._description(),
      trained_model.weights_checksum(self.model),
      self._checksum,
      dataclasses.asdict(self.config),
    ]

  def _run(self, shared: shared_batches.SharedBatches | None) -> dict[str, Any] | None:
    diffusion = full_sum.respaced_diffusion(
      self.model.config.diffusion, self.config.nll_steps, self.config.nll_schedule
    )
    self._progress.say(
      f"bits/dim of {self.model}: {self.config.num_examples} {self._name}, "
      f"{diffusion.num_timesteps} timesteps, seed {self.config.seed}, "
      f"iddpm_tf {iddpm_tf.__version__}"
    )
    if self.config.nll_stderr:
      return self._estimate(self.config.nll_stderr, shared)
    bits = self._full_sum(full_sum.FullSum(self.model, diffusion), shared)
    if bits is None:
      return None
    timesteps = diffusion.process.timestep_map
    result = self._full_sum_result(bits, timesteps)
    stderr = "unknown" if result["stderr"] is None else f"{result['stderr']:.4f}"
    self._progress.say(f"{result['bits_per_dim']:.4f} bits/dim, standard error {stderr}")
    self._write(result, timesteps, np.mean(bits.terms, axis=0))
    return result

  def _full_sum(
    self, evaluator: full_sum.FullSum, shared: shared_batches.SharedBatches | None
  ) -> likelihood.BitsPerDim | None:
    """Returns the bound of each image, or None in a worker besides the chief."""

    def batches(starts: Sequence[int]) -> Iterator[likelihood.BitsPerDim]:
      return evaluator.batches(
        self.source.images,
        self._labels,
        count=self.config.num_examples,
        seed=self.config.seed,
        batch_size=self.config.batch_size,
        starts=starts,
        progress=self._progress,
      )

    starts = range(0, self.config.num_examples, self.config.batch_size)
    if shared is None:
      return likelihood.BitsPerDim(*(np.concatenate(columns) for columns in zip(*batches(starts))))
    shared.share("images", starts, self.config.batch_size, batches)
    if not shared.is_chief:
      return None
    return likelihood.BitsPerDim(*shared.load("images", starts))

  @property
  def _labels(self) -> np.ndarray | None:
    return self.source.labels if self.model.config.num_classes else None

  @functools.cached_property
  def _checksum(self) -> str:
    return sources.checksum(self.source)

  def _description(self) -> dict[str, Any]:
    about = results.describe(self.model, self.source.name, self.config)
    if self._has_own_images:
      about |= {"data_dir": None, "split": None, "images_checksum": self._checksum}
    return about

  def _full_sum_result(self, bits: likelihood.BitsPerDim, timesteps: np.ndarray) -> dict[str, Any]:
    mean, stderr = full_sum.mean_and_stderr(bits.total)
    return {
      "bits_per_dim": mean,
      "stderr": stderr,
      **self._description(),
      "num_timesteps": len(timesteps),
      "timesteps": timesteps.tolist(),
      "prior": _mean(bits.prior),
      "terms": _mean(bits.terms),
      "x_start_mse": _mean(bits.x_start_mse),
      "eps_mse": _mean(bits.eps_mse),
      "bits_per_dim_of_images": bits.total.tolist(),
    }

  def _estimate(
    self, nll_stderr: float, shared: shared_batches.SharedBatches | None
  ) -> dict[str, Any] | None:
    estimator = estimate.Estimator(
      self.model,
      self.source.images,
      self._labels,
      count=self.config.num_examples,
      batch_size=self.config.batch_size,
      shared=shared,
    )
    limit = estimator.full_sum_evaluations
    least = likelihood_estimator.least_evaluations(estimator.num_timesteps)
    if least > limit:
      self._progress.say(
        f"note: the full sum takes {limit:,} network evaluations, fewer than any estimate (at "
        f"least {least:,}); without nll_stderr it is computed"
      )
    bound = estimator.estimate(nll_stderr, seed=self.config.seed, progress=self._progress)
    if shared and not shared.is_chief:
      return None
    self._say_estimate(bound, nll_stderr, limit)
    edges, terms = bound.plan.edges, bound.terms
    result = {
      "bits_per_dim": bound.bits_per_dim,
      "stderr_of_estimate": bound.stderr,
      "stderr_target": nll_stderr,
      "network_evaluations": terms.evaluations,
      "network_evaluations_of_pilot": bound.plan.evaluations,
      "network_evaluations_of_full_sum": limit,
      **self._description(),
      "num_timesteps": estimator.num_timesteps,
      "prior": bound.prior,
      "strata": {
        "first_timestep": edges[:-1].tolist(),
        "last_timestep": (edges[1:] - 1).tolist(),
        "network_evaluations": terms.counts.tolist(),
        "mean_term": terms.means.tolist(),
        "standard_deviation": terms.deviations.tolist(),
      },
    }
    self._write(result, (edges[:-1] + edges[1:] - 1) / 2, terms.means)
    return result

  def _say_estimate(self, bound: estimate.BoundEstimate, nll_stderr: float, limit: int) -> None:
    evaluations = bound.terms.evaluations
    if bound.stderr > nll_stderr:
      self._progress.say(
        f"note: stopped at the full sum's number of network evaluations, {limit:,}; a standard "
        f"error of {nll_stderr} would take about {bound.terms.expected:,}"
      )
    share = f", 1/{limit / evaluations:.0f}" if 2 * evaluations < limit else ""
    self._progress.say(
      f"{bound.bits_per_dim:.4f} bits/dim, standard error of the estimate {bound.stderr:.4f} "
      f"({evaluations:,} of {limit:,} network evaluations{share})"
    )
    self._progress.say(
      f"this is the error of estimating the full sum over these {self.config.num_examples} images; "
      "it says nothing about other images"
    )

  def _write(self, result: dict[str, Any], timesteps: np.ndarray, terms: np.ndarray) -> None:
    checksum = self._checksum if self._has_own_images else None
    path = self._folder / f"{results.file_name(self.model, self.config, checksum)}.json"
    picture = results.write(path, result, timesteps, terms)
    self._progress.say(f"wrote {path} and {picture}")
    results_log.append(self._log_folder, results.log_entry(path, result))


def _source(path: str | os.PathLike[str], config: config_lib.Config) -> sources.Source:
  """Returns the images of a path, with labels if the model has classes."""
  images, labels, _ = image_files.read(
    path, config.image_shape, class_names=config.class_names, name="samples"
  )
  if not config.num_classes:
    return sources.from_arrays(images, name=str(path))
  if labels is None:
    message = "expected labels of the images, because the model has classes, received images alone"
    raise settings.InputError(
      "samples", f"{message} ({path}); an .npz file has them as arr_1, a folder as sub-folders"
    )
  labels = arrays.require_labels(labels, len(images), config.num_classes, name="samples")
  assert labels is not None
  return sources.Source(str(path), images, labels, config.num_classes)


def _mean(values: np.ndarray) -> list[float] | float:
  """Returns the mean over the images."""
  return np.mean(values, axis=0, dtype=np.float64).tolist()
