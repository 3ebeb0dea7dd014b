"""Every score of a set of samples, from a stream of their features."""

from typing import NamedTuple

import numpy as np

from iddpm_tf import settings
from iddpm_tf.config import NEIGHBOURS
from iddpm_tf.evaluation import frechet
from iddpm_tf.evaluation import inception_score
from iddpm_tf.evaluation import precision_recall


class Wanted(NamedTuple):
  """Which scores."""

  fid: bool = False
  sfid: bool = False
  inception_score: bool = False
  precision_recall: bool = False


class Summary(NamedTuple):
  """What the wanted scores need to know of a set of images; parts that they do not need are None."""

  count: int
  pool: frechet.Statistics | None
  spatial: frechet.Statistics | None
  features: np.ndarray | None  # float32 [N, D].
  probabilities: np.ndarray | None  # float32 [N, K].


def summarise(batches, wanted, name="features"):
  """`Summary` of an iterable of `Features`; one batch of them is in memory at a time, beside what is kept.

  `ValueError`, by the name, for no images, features that are not finite, or ones that a wanted score lacks.
  """
  count, pool, spatial, features, probabilities = 0, None, None, [], []
  for batch in batches:
    require_parts(batch, wanted)
    count += len(batch.pool)
    if wanted.fid or wanted.precision_recall:
      frechet.require_finite(name, batch.pool)
    if wanted.fid:
      pool = _merged(pool, batch.pool)
    if wanted.sfid:
      frechet.require_finite(name, batch.spatial)
      spatial = _merged(spatial, batch.spatial)
    if wanted.precision_recall:
      features.append(batch.pool)
    if wanted.inception_score:
      frechet.require_finite(name, batch.probabilities)
      probabilities.append(batch.probabilities)
  if not count:
    raise settings.InputError(name, "expected those of at least one image, received none")
  return Summary(count, pool, spatial, _joined(features), _joined(probabilities))


def sample_scores(wanted, sample, *, pool=None, spatial=None, features=None):
  """{name: number} of the wanted scores.

  Args:
    wanted: `Wanted`.
    sample: the samples' `Summary`.
    pool, spatial: the reference's `Gaussian`s, for FID and sFID.
    features: float32 [N, D] of the reference's images, for precision and recall.

  Raises:
    ValueError: too few samples, or sizes that differ.
  """
  results = {}
  if wanted.fid:
    results["fid"] = frechet.frechet_distance(pool, sample.pool.gaussian)
  if wanted.sfid:
    results["sfid"] = frechet.frechet_distance(spatial, sample.spatial.gaussian)
  if wanted.inception_score:
    results["inception_score"] = inception_score.inception_score(sample.probabilities)
  if wanted.precision_recall:
    for result, k in zip(
      precision_recall.precision_recalls(features, sample.features, NEIGHBOURS), NEIGHBOURS
    ):
      results |= {f"precision_k{k}": result.precision, f"recall_k{k}": result.recall}
  return results


def _merged(statistics, batch):
  found = frechet.statistics(batch)
  return frechet.merge(statistics, found) if statistics else found


def _joined(parts):
  return np.concatenate(parts) if parts else None


def require_parts(batch, wanted):
  """`ValueError` unless `Features` have what the wanted scores need."""
  for flag, name in (("sfid", "spatial"), ("inception_score", "probabilities")):
    if getattr(wanted, flag) and getattr(batch, name) is None:
      raise settings.InputError(
        flag, f"expected a feature extractor that gives {name!r}, received one without"
      )
