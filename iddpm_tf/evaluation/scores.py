"""All scores of a set of samples, computed from batches of their features."""

from collections.abc import Iterable
import dataclasses
from typing import NamedTuple
from typing import TypeVar

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.evaluation import config as evaluation_config
from iddpm_tf.evaluation import frechet
from iddpm_tf.evaluation import inception_score
from iddpm_tf.evaluation import kernel_distance
from iddpm_tf.evaluation import precision_recall
from iddpm_tf.evaluation.feature_extractors import base

T = TypeVar("T")


class Selection(NamedTuple):
  """The scores to compute."""

  fid: bool = False
  fid_infinity: bool = False
  sfid: bool = False
  inception_score: bool = False
  precision_recall: bool = False
  kid: bool = False

  @classmethod
  def from_names(cls, names: tuple[str, ...]) -> "Selection":
    """Returns the selection of scores by their names.

    Raises:
      InputError: there is no such score, or no name.
    """
    evaluation_config.require_scores(names)
    return cls(**dict.fromkeys(names, True))

  @property
  def needs_reference(self) -> bool:
    """Whether a score compares the samples with real images; the Inception Score does not."""
    return self.compares_pool or self.sfid or self.compares_features

  @property
  def compares_pool(self) -> bool:
    """Whether a score compares samples with the statistics of the real images' features."""
    return self.fid or self.fid_infinity

  @property
  def pool_score(self) -> str:
    """The name of a selected score that `compares_pool`, for errors."""
    return "fid" if self.fid else "fid_infinity"

  @property
  def compares_features(self) -> bool:
    """Whether a score compares samples with the features of all real images."""
    return self.precision_recall or self.kid

  @property
  def keeps_features(self) -> bool:
    """Whether a score needs the features of all samples, rather than their statistics."""
    return self.compares_features or self.fid_infinity


@dataclasses.dataclass(frozen=True)
class Summary:
  """What the scores need of a set of images. Parts that no selected score needs are None."""

  pool: frechet.Statistics | None
  spatial: frechet.Statistics | None
  features: np.ndarray | None  # float32 [N, D].
  probabilities: np.ndarray | None  # float32 [N, K].


class ReferenceSummary(NamedTuple):
  """What the scores need of real images. Parts that no selected score needs may be None."""

  pool: frechet.Gaussian | None = None  # For FID, also extrapolated.
  spatial: frechet.Gaussian | None = None  # For sFID.
  features: np.ndarray | None = None  # float32 [N, D], for precision and recall, and for KID.


def summarise(
  batches: Iterable[base.Features], selection: Selection, name: str = "features"
) -> Summary:
  """Returns the `Summary` of batches of features, and holds one batch and the summary at a time.

  Args:
    batches: the features of each batch of images.
    selection: the scores to compute.
    name: what the features are, for errors.

  Raises:
    InputError: there are no images, features are not finite, or a score needs other features.
  """
  count, features, probabilities = 0, [], []
  pool: frechet.Statistics | None = None
  spatial: frechet.Statistics | None = None
  for batch in batches:
    require_parts(batch, selection)
    count += len(batch.pool)
    if selection.fid or selection.keeps_features:
      frechet.require_finite(name, batch.pool)
    if selection.fid:
      pool = _merged(pool, batch.pool)
    if selection.sfid:
      part = _required(batch.spatial)
      frechet.require_finite(name, part)
      spatial = _merged(spatial, part)
    if selection.keeps_features:
      features.append(batch.pool)
    if selection.inception_score:
      part = _required(batch.probabilities)
      frechet.require_finite(name, part)
      probabilities.append(part)
  if not count:
    raise settings.InputError(name, "expected at least one image, received none")
  return Summary(pool, spatial, _joined(features), _joined(probabilities))


def compute(selection: Selection, sample: Summary, reference: ReferenceSummary) -> dict[str, float]:
  """Returns the selected scores by name.

  Args:
    selection: the scores to compute.
    sample: the summary of the samples.
    reference: the summary of the real images.

  Raises:
    InputError: there are too few samples, or features have different sizes.
  """
  results = {}
  if selection.fid:
    gaussian = _required(sample.pool).gaussian
    results["fid"] = frechet.frechet_distance(_required(reference.pool), gaussian)
  if selection.fid_infinity:
    limit = frechet.extrapolated_distance(_required(reference.pool), _required(sample.features))
    results["fid_infinity"] = limit.distance
    results["fid_infinity_standard_error"] = limit.standard_error
  if selection.sfid:
    gaussian = _required(sample.spatial).gaussian
    results["sfid"] = frechet.frechet_distance(_required(reference.spatial), gaussian)
  if selection.inception_score:
    probabilities = _required(sample.probabilities)
    results["inception_score"] = inception_score.inception_score(probabilities)
  if selection.precision_recall:
    neighbours = config_lib.NEIGHBOURS
    pairs = precision_recall.precision_recalls(
      _required(reference.features), _required(sample.features), neighbours
    )
    for k, pair in zip(neighbours, pairs):
      results |= {f"precision_k{k}": pair.precision, f"recall_k{k}": pair.recall}
  if selection.kid:
    distance = kernel_distance.kernel_distance(
      _required(reference.features), _required(sample.features)
    )
    results["kid"] = distance.mean
    if distance.standard_error is not None:
      results["kid_standard_error"] = distance.standard_error
  return results


def require_parts(batch: base.Features, selection: Selection) -> None:
  """Raises an `InputError` unless features have the parts that the selected scores need."""
  for score, part in (("sfid", "spatial"), ("inception_score", "probabilities")):
    if getattr(selection, score) and getattr(batch, part) is None:
      raise settings.InputError(
        score, f"requires a feature extractor that gives {part!r}, received one without"
      )


def _required(part: T | None) -> T:
  """Returns a part that a selected score needs, and that is therefore not None."""
  assert part is not None
  return part


def _merged(statistics, batch):
  new = frechet.statistics(batch)
  return frechet.merge(statistics, new) if statistics else new


def _joined(parts):
  return np.concatenate(parts) if parts else None
