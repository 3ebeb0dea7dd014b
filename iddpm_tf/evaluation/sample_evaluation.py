"""Scores of the samples of a model or of a file, written to the results log."""

from collections.abc import Callable
from collections.abc import Iterator
import os
from typing import Any

import iddpm_tf
from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import arrays
from iddpm_tf.data import image_files
from iddpm_tf.diffusion.samplers import base as samplers_lib
from iddpm_tf.evaluation import config as evaluation_config
from iddpm_tf.evaluation import results_log
from iddpm_tf.evaluation import sample_store
from iddpm_tf.evaluation import scoring as scoring_lib
from iddpm_tf.models import batched_sampling
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.models import seeds
from iddpm_tf.models import trained_model
from iddpm_tf.utils import cluster
from iddpm_tf.utils import files
from iddpm_tf.utils import progress as progress_lib

# Images, and the part of a result that says what they are.
SampleSet = tuple[arrays.Images, dict[str, Any]]

_TITLES = {
  "fid": "FID",
  "fid_infinity": "FID of infinitely many samples",
  "fid_infinity_standard_error": "standard error of FID of infinitely many samples",
  "sfid": "sFID",
  "inception_score": "Inception Score",
  "kid": "KID",
  "kid_standard_error": "standard error of KID",
}


class SampleEvaluation:
  """An evaluation of sets of samples, ready to run.

  Attributes:
    scoring: the scores, the feature extractor and the reference.
  """

  def __init__(
    self,
    scoring: scoring_lib.Scoring,
    output_dir: str | os.PathLike[str],
    *,
    make_scorer: Callable[[], scoring_lib.Scorer],
    sample_sets: Callable[[], Iterator[SampleSet]],
    progress: progress_lib.Progress,
    workers: cluster.Cluster | None = None,
  ):
    """Makes the output folder.

    Args:
      scoring: the scores, the feature extractor and the reference.
      output_dir: the folder of the results.
      make_scorer: returns the scorer, after computing what the reference lacks.
      sample_sets: yields sets of samples.
      progress: shows the results.
      workers: the processes that evaluate together, or None.
    """
    self.scoring, self._workers = scoring, workers
    self._output_dir = files.make_folder(output_dir)
    results_log.require_writable(output_dir)
    self._make_scorer, self._sample_sets = make_scorer, sample_sets
    self._progress = progress

  def run(self) -> list[dict[str, Any]]:
    """Scores each set of samples, adds the results to the results log, and returns them.

    A worker besides the chief draws its part of the samples, and returns no results.
    """
    if self._workers and not self._workers.is_chief:
      for _ in self._sample_sets():
        pass
      return []
    scorer = self._make_scorer()
    results = []
    for images, about in self._sample_sets():
      result = scorer.score(images) | about
      self._progress.say(describe(result))
      path = results_log.append(self._output_dir, result)
      self._progress.say(f"added to {path}")
      results.append(result)
    return results


def prepare_model(
  model: trained_model.TrainedModel,
  config: evaluation_config.ScoringConfig,
  *,
  upsampler: tuple[trained_model.TrainedModel, samplers_lib.Sampler] | None = None,
  output_dir: str | os.PathLike[str] | None = None,
  workers: cluster.Cluster | None = None,
  progress: progress_lib.Progress,
) -> SampleEvaluation:
  """Returns an evaluation of samples that a model draws, by each sampler of its configuration.

  The samples are kept in the model folder, or in `output_dir` if the model folder cannot be
  written. So are the statistics of the training images, if they are the reference.

  Args:
    model: the model.
    config: how the samples are scored.
    upsampler: a super-resolution model and its sampler, which enlarge the samples (Appendix C).
      Its training images are the reference if `config` names none.
    output_dir: the folder of the results. None is the model folder.
    workers: the processes that evaluate together; each draws a part of the samples, and the chief
      scores them.
    progress: shows the results and the evaluations of the network.

  Raises:
    InputError: wrong settings, or settings that do not fit together.
  """
  count = model.config.sampling.num_samples
  if model.config.low_res_shape:
    message = (
      "expected a model that draws images from noise alone, received one that enlarges images"
    )
    raise settings.InputError("model_dir", message)
  samplers = batched_sampling.parse_samplers(model.config)
  last = model if upsampler is None else upsampler[0]
  scoring = scoring_lib.prepare(
    config.scores,
    last.config.image_shape,
    features=config.features,
    reference=config.reference,
    num_samples=count,
  )
  keeping = _keeping_folder(model.folder, output_dir)

  def sample_sets():
    enlarged = "" if upsampler is None else f", enlarged by {last}"
    progress.say(f"scoring {count:,} samples of {model}{enlarged}")
    first_seed = seeds.first_of_set(config.seed)
    for sampler in samplers:
      store = sample_store.SampleStore(keeping.evaluations, model, sampler, first_seed=first_seed)
      if upsampler is not None:
        store = sample_store.SampleStore(
          keeping.evaluations, *upsampler, first_seed=first_seed, base=store
        )
      images = store.draw(count, batch_size=config.batch_size, progress=progress, workers=workers)
      about = results_log.describe_model(model, seed=config.seed)
      about |= results_log.describe_sampler(model, sampler)
      if upsampler is not None:
        about |= results_log.describe_upsampler(*upsampler)
      yield images, about

  return SampleEvaluation(
    scoring,
    output_dir or model.folder.path,
    make_scorer=lambda: scoring.with_reference_of(
      last.config, keeping, batch_size=config.batch_size, progress=progress
    ),
    sample_sets=sample_sets,
    progress=progress,
    workers=workers,
  )


def prepare_file(
  path: str | os.PathLike[str],
  config: evaluation_config.ScoringConfig,
  *,
  run: tuple[model_dir_lib.ModelDir, config_lib.Config] | None = None,
  output_dir: str | os.PathLike[str] | None = None,
  progress: progress_lib.Progress,
) -> SampleEvaluation:
  """Returns an evaluation of the samples of a path, of any model.

  Args:
    path: images in any form that `image_files.read` knows.
    config: how the samples are scored.
    run: a model folder and its configuration. The samples must have the shape of its images; its
      training images are the reference if `config` names none.
    output_dir: the folder of the results. None is the model folder.
    progress: shows the results.

  Raises:
    InputError: wrong settings, or settings that do not fit together.
  """
  shape = arrays.ANY_SHAPE if run is None else run[1].image_shape
  images = image_files.read(path, shape, name="samples").images
  with settings.renamed({"num_samples": "samples"}):
    scoring = scoring_lib.prepare(
      config.scores,
      images.shape[1:],
      features=config.features,
      reference=config.reference,
      num_samples=len(images),
    )
  if run is None and scoring.selection.needs_reference and scoring.reference is None:
    message = "expected a file of real images or of their statistics, because there is no model_dir"
    raise settings.InputError("reference", f"{message}, received none")
  folder = run[0].path if run and output_dir is None else output_dir
  if folder is None:
    message = "expected a folder for the results, because there is no model_dir, received none"
    raise settings.InputError("output_dir", message)
  keeping = _keeping_folder(run[0], output_dir) if run else model_dir_lib.ModelDir(folder)

  def make_scorer():
    if run is None:
      return scoring.make_scorer(batch_size=config.batch_size, progress=progress)
    return scoring.with_reference_of(
      run[1], keeping, batch_size=config.batch_size, progress=progress
    )

  def sample_sets():
    yield images, {"samples": str(path), "samples_sha256": image_files.checksum(path, images)}

  return SampleEvaluation(
    scoring,
    folder,
    make_scorer=make_scorer,
    sample_sets=sample_sets,
    progress=progress,
  )


def _keeping_folder(
  folder: model_dir_lib.ModelDir, output_dir: str | os.PathLike[str] | None
) -> model_dir_lib.ModelDir:
  """Returns the folder that keeps samples and statistics: the model's, if it can be written."""
  try:
    files.require_writable(folder.evaluations)
  except settings.InputError:
    if output_dir is None:
      raise
    return model_dir_lib.ModelDir(output_dir)
  return folder


def _shown(value: float) -> str:
  """Returns a score with four decimals, or with three digits where that would show fewer."""
  return f"{value:.4f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}"


def describe(result: dict[str, Any]) -> str:
  """Returns a result in words, as lines."""
  lines = [
    f"{_TITLES.get(name, name.replace('_k', ', k = '))}: {_shown(value)}"
    for name, value in result["scores"].items()
  ]
  if "sampler" in result:
    samples = (
      f"sampler {result['sampler']}, step {result['training_step']}, EMA {result['ema']}, "
      f"seed {result['seed']}"
    )
    if "upsampler" in result:
      samples += f", enlarged by {result['upsampler']} with {result['upsampler_sampler']}"
  else:
    samples = f"{result['samples']}, SHA-256 {result['samples_sha256'][:12]}..."
  lines.append(f"{result['num_samples']:,} samples ({samples}), features of {result['features']}")
  if result["reference"]:
    lines.append(
      f"reference {result['reference']} (SHA-256 {result['reference_sha256'][:12]}...), "
      f"iddpm_tf {iddpm_tf.__version__}"
    )
  if "warning" in result:
    lines.append(f"warning: {result['warning']}")
  return "\n".join(lines)
