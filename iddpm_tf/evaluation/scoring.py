"""Scores of images against real images, in two steps: everything is checked before work begins."""

import contextlib
import dataclasses
import hashlib
import os
from typing import Any

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import arrays
from iddpm_tf.data import sources
from iddpm_tf.evaluation import features as features_lib
from iddpm_tf.evaluation import frechet
from iddpm_tf.evaluation import reference as reference_lib
from iddpm_tf.evaluation import reference_statistics
from iddpm_tf.evaluation import scores as scores_lib
from iddpm_tf.evaluation.feature_extractors import base
from iddpm_tf.models import model_dir
from iddpm_tf.utils import progress as progress_lib

AnyReference = reference_lib.Reference | arrays.Images | str | os.PathLike[str]


def score(
  images: arrays.Images,
  reference: AnyReference | None = None,
  *,
  scores: tuple[str, ...] = ("fid",),
  features: str | None = None,
  batch_size: int = 100,
  progress: progress_lib.Progress,
) -> dict[str, float]:
  """Returns scores of images by name.

  Args:
    images: uint8 [N, H, W, C], an array or anything that is indexed like one.
    reference: real images, the path of an .npz with them or their statistics, or a `Reference`. The
      Inception Score needs none.
    scores: names of fid, fid_infinity, sfid, inception_score, precision_recall and kid.
    features: the feature extractor; see `features.for_images`.
    batch_size: images at a time.
    progress: shows the images that are done, and warnings.

  Raises:
    InputError: a wrong argument, or arguments that do not fit together.
  """
  settings.require(batch_size > 0, "batch_size", "a positive number", batch_size)
  images = arrays.require_images(images)
  with settings.renamed({"num_samples": "images"}):
    prepared = prepare(
      scores, images.shape[1:], features=features, reference=reference, num_samples=len(images)
    )
  if prepared.selection.needs_reference and prepared.reference is None:
    message = f"expected real images or the path of an .npz for {', '.join(scores)}, received none"
    raise settings.InputError("reference", message)
  result = prepared.make_scorer(batch_size=batch_size, progress=progress).score(images)
  if "warning" in result:
    progress.say(f"warning: {result['warning']}")
  return result["scores"]


@dataclasses.dataclass(frozen=True)
class Scoring:
  """Scores, a feature extractor and a reference that fit together; `prepare` returns one.

  Attributes:
    selection: the scores to compute.
    extractor: the feature extractor.
    reference: the reference; None if no score needs one, or if it is still to be made.
    note: a line that a user should read, or None.
  """

  selection: scores_lib.Selection
  extractor: base.FeatureExtractor
  reference: reference_lib.Reference | None
  note: str | None = None

  def make_scorer(self, *, batch_size: int, progress: progress_lib.Progress) -> "Scorer":
    """Returns the scorer, after computing what the reference's file lacks.

    Args:
      batch_size: images at a time.
      progress: shows the images that are done.
    """
    return Scorer(self, batch_size=batch_size, progress=progress)

  def with_reference_of(
    self,
    config: config_lib.Config,
    folder: model_dir.ModelDir,
    *,
    source: sources.Source | None = None,
    batch_size: int,
    progress: progress_lib.Progress,
  ) -> "Scorer":
    """Returns the scorer, with a run's training images as the reference if there is no other.

    Args:
      config: the configuration of the run.
      folder: the model folder, which keeps the statistics of the training images.
      source: the training images. None loads those of the configuration if they are needed.
      batch_size: images at a time.
      progress: shows the images that are done.

    Raises:
      InputError: the data cannot be loaded, or is not the model's.
    """
    scoring = self
    if self.selection.needs_reference and self.reference is None:
      reference = reference_statistics.of_training_images(
        config, folder, self.extractor, source=source, batch_size=batch_size, progress=progress
      )
      scoring = dataclasses.replace(self, reference=reference)
    return scoring.make_scorer(batch_size=batch_size, progress=progress)


class Scorer:
  """Scores sets of images against one reference."""

  def __init__(self, scoring: Scoring, *, batch_size: int, progress: progress_lib.Progress):
    """Shows the note of the scoring, and computes what the reference's file lacks.

    Args:
      scoring: the scores, the feature extractor and the reference.
      batch_size: images at a time.
      progress: shows the images that are done.
    """
    if scoring.note:
      progress.say(scoring.note)
    self._selection, self._extractor = scoring.selection, scoring.extractor
    self._batch_size, self._progress = batch_size, progress
    reference = scoring.reference
    self._reference = self._summary_of(reference)
    self._about = {
      "features": self._extractor.name,
      "features_sha256": self._extractor.checksum,
      "reference": reference.path if reference else None,
      "reference_sha256": reference.checksum if reference else None,
      "reference_about": reference.about if reference else {},
    }

  def score(self, images: arrays.Images) -> dict[str, Any]:
    """Returns a result for the results log: the scores, and what they depend on.

    Args:
      images: uint8 [N, H, W, C], an array or anything that is indexed like one.

    Raises:
      InputError: features are not finite.
    """
    digest = hashlib.sha256()

    def extract(batch):
      digest.update(batch)
      return self._extractor(batch)

    summary = self._summarise(images, extract, self._selection, "features of the samples")
    result = {
      "scores": scores_lib.compute(self._selection, summary, self._reference),
      "num_samples": len(images),
      "images_sha256": digest.hexdigest(),
    } | self._about
    size = len(self._reference.pool.mean) if self._selection.compares_pool else 0
    if warning := _warning_of_few(self._selection, len(images), size):
      result["warning"] = warning
    return result

  def _summary_of(self, reference):
    """Returns the `ReferenceSummary` of a reference."""
    if reference is None:
      return scores_lib.ReferenceSummary()
    missing = _missing(self._selection, reference)
    if not any(missing):
      return scores_lib.ReferenceSummary(reference.pool, reference.spatial)
    name = "features of the reference"
    summary = self._summarise(reference.images, self._extractor, missing, name)
    return scores_lib.ReferenceSummary(
      summary.pool.gaussian if missing.fid else reference.pool,
      summary.spatial.gaussian if missing.sfid else reference.spatial,
      summary.features,
    )

  def _summarise(self, images, extract, selection, name):
    batches = features_lib.batches(
      extract,
      images,
      np.arange(len(images)),
      batch_size=self._batch_size,
      description=name,
      progress=self._progress,
    )
    return scores_lib.summarise(batches, selection, name)


def prepare(
  scores: tuple[str, ...],
  image_shape: tuple[int, ...],
  *,
  features: str | None = None,
  reference: AnyReference | None = None,
  num_samples: int,
) -> Scoring:
  """Loads what scores need, and checks that it fits together and fits the samples.

  Args:
    scores: names of fid, fid_infinity, sfid, inception_score, precision_recall and kid.
    image_shape: the shape (H, W, C) of the samples.
    features: the feature extractor; see `features.for_images`.
    reference: see `reference.load`. None if no score needs one, or if it is still to be made.
    num_samples: the number of samples.

  Raises:
    InputError: a wrong argument, or arguments that do not fit together.
  """
  selection = scores_lib.Selection.from_names(scores)
  extractor = features_lib.for_images(features, image_shape)
  loaded = None
  if reference is not None and selection.needs_reference:
    loaded = reference_lib.load(reference, image_shape[-1])
  example = extractor(np.zeros([1, *image_shape], np.uint8))
  scores_lib.require_parts(example, selection)
  if selection.precision_recall:
    most = max(config_lib.NEIGHBOURS)
    settings.require(
      num_samples > most, "num_samples", f"more than {most} for {most} neighbours", num_samples
    )
  if selection.fid or selection.sfid:
    settings.require(num_samples > 1, "num_samples", "2 or more for a covariance", num_samples)
  if selection.fid_infinity:
    least = frechet.MIN_TO_EXTRAPOLATE
    expected = f"{least} or more for FID of infinitely many samples"
    settings.require(num_samples >= least, "num_samples", expected, num_samples)
  if selection.kid:
    settings.require(num_samples > 1, "num_samples", "2 or more for KID", num_samples)
  if loaded is not None:
    _require_images(selection, extractor, loaded, image_shape)
    with _hint_of_default(features):
      _require_same_features(selection, extractor, loaded, example)
  note = features_lib.note_of_default(extractor) if features is None else None
  return Scoring(selection, extractor, loaded, note)


@contextlib.contextmanager
def _hint_of_default(features):
  """Adds to an error about features what to do, if nobody has chosen them."""
  try:
    yield
  except settings.InputError as error:
    if features is not None:
      raise
    message = f"{error.message}; features chooses the extractor of the statistics"
    raise settings.InputError(error.name, message) from None


def _require_same_features(selection, extractor, reference, example):
  """Raises an `InputError` if a reference has statistics of other features than the extractor's."""
  theirs = reference.about.get("features_sha256")
  if theirs not in (None, extractor.checksum):
    raise settings.InputError(
      "reference",
      f"expected statistics of the features of {extractor.name} (SHA-256 "
      f"{extractor.checksum[:12]}...), received {reference.path}, with those of "
      f"{reference.about.get('features')} ({theirs[:12]}...)",
    )
  for score_name, selected, gaussian, features in (
    (selection.pool_score, selection.compares_pool, reference.pool, example.pool),
    ("sfid", selection.sfid, reference.spatial, example.spatial),
  ):
    size = features.shape[1] if selected else None
    if size and gaussian is not None and len(gaussian.mean) != size:
      raise settings.InputError(
        "reference",
        f"expected statistics of {size} features per image for {score_name}, which "
        f"{extractor.name} gives, received {len(gaussian.mean)} ({reference.path})",
      )


def _require_images(selection, extractor, reference, image_shape):
  """Raises an `InputError` unless a reference has the images to compute what it lacks."""
  images = reference.images
  # Also where there are statistics: they are of images of this size.
  if extractor.one_size and images is not None and images.shape[1:3] != tuple(image_shape[:2]):
    expected, received = ("x".join(map(str, s[:2])) for s in (image_shape, images.shape[1:]))
    raise settings.InputError(
      "reference",
      f"expected images of {expected}, as the samples have, because {extractor.name} features of "
      f"other sizes cannot be compared, received {received}{_in_parentheses(reference)}",
    )
  missing = _missing(selection, reference)
  if not any(missing):
    return
  least = max(config_lib.NEIGHBOURS) + 1 if missing.precision_recall else 2
  if images is None or len(images) < least:
    lacks = missing._asdict() | {"fid_infinity": missing.fid}  # Both need the same statistics.
    names = " and ".join(name for name in lacks if lacks[name] and getattr(selection, name))
    raise settings.InputError(
      "reference",
      f"expected {least} images or more (arr_0 of a file) to compute what {names} requires, "
      f"received {0 if images is None else len(images)}{_in_parentheses(reference)}",
    )
  try:
    extractor.require_shape(images.shape[1:])
  except settings.InputError as error:
    raise settings.InputError("reference", f"{error.message}{_in_parentheses(reference)}") from None


def _missing(selection, reference):
  """Returns the selected scores for which a reference has no statistics."""
  return scores_lib.Selection(
    fid=selection.compares_pool and reference.pool is None,
    sfid=selection.sfid and reference.spatial is None,
    precision_recall=selection.precision_recall,
    kid=selection.kid,
  )


def _warning_of_few(selection, count, size):
  """Returns a warning of too few samples for features of some size; empty where they are enough."""
  texts = []
  if selection.fid and count <= size:
    texts.append(
      f"{count} samples are too few for a covariance of {size} features: this FID is biased "
      "upwards, and can be compared only with that of as many samples"
    )
  enough = frechet.ENOUGH_TO_EXTRAPOLATE * size
  if selection.fid_infinity and count < enough:
    texts.append(
      f"{count} samples are too few to extrapolate FID of {size} features: it can be wrong by more "
      f"than its standard error; {enough} are enough"
    )
  return "; ".join(texts)


def _in_parentheses(reference):
  return f" ({reference.path})" if reference.path else ""
