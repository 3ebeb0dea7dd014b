"""Improved precision and recall (Kynkäänniemi et al., 2019)."""

from collections.abc import Iterator
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import sklearn.metrics

from iddpm_tf import settings
from iddpm_tf.evaluation import frechet

BLOCK_MIB = 256  # The size of the block of distances that is in memory at a time.


class PrecisionRecall(NamedTuple):
  """Precision and recall for one number of neighbours."""

  precision: float  # Fraction of the samples within the reference's manifold.
  recall: float  # Fraction of the reference within the samples' manifold.


def precision_recall(
  reference: np.ndarray, sample: np.ndarray, *, neighbours: int = 3
) -> PrecisionRecall:
  """Returns precision and recall for one number of neighbours; see `precision_recalls`."""
  return precision_recalls(reference, sample, (neighbours,))[0]


def precision_recalls(
  reference: np.ndarray, sample: np.ndarray, neighbours: Sequence[int]
) -> list[PrecisionRecall]:
  """Returns precision and recall for each number of neighbours k.

  The manifold of a set is the union of balls around its members. Each ball reaches to the member's
  k-th nearest neighbour in the set (the paper's Eq. 1).

  There are three passes over pairs: within each set, and between them. Features keep their
  precision if it is float32 or float64, and distances are summed in float64.

  Args:
    reference: features of real images, `[N, D]`.
    sample: features of samples, `[M, D]`.
    neighbours: the numbers of neighbours.

  Raises:
    InputError: a set has no more members than neighbours, features are not finite, or their sizes
      differ.
  """
  if min(neighbours) < 1:
    message = f"expected a number of at least 1, received {min(neighbours)}"
    raise settings.InputError("neighbours", message)
  reference = _checked("reference", reference, max(neighbours))
  sample = _checked("sample", sample, max(neighbours))
  if reference.shape[1] != sample.shape[1]:
    raise settings.InputError(
      "sample",
      f"expected {reference.shape[1]} numbers per image, as the reference has, "
      f"received {sample.shape[1]}",
    )
  # Distances do not depend on the origin. A near one makes |a|^2 + |b|^2 - 2ab more exact.
  centre = reference.mean(axis=0, dtype=np.float64).astype(reference.dtype)
  reference, sample = reference - centre, sample - centre
  # This sum is rounded by up to about 1e-12 of its largest value, and the result to the precision
  # of the features. Without this slack, an exact copy of a member could fall outside a ball of
  # radius 0, and repeated images have such balls.
  largest = max(
    np.square(features, dtype=np.float64).sum(axis=1).max() for features in (reference, sample)
  )
  rounding = 1 + 4 * max(np.finfo(features.dtype).eps for features in (reference, sample))
  reference_radii, sample_radii = (
    _radii(features, neighbours) * rounding + 1e-12 * largest for features in (reference, sample)
  )
  return _between(reference, reference_radii, sample, sample_radii)


def _checked(name, features, most):
  features = np.asarray(features)
  if features.dtype != np.float32:
    features = features.astype(np.float64)
  frechet.require_finite(name, features)
  if len(features) <= most:
    raise settings.InputError(
      name, f"expected more than {most} features for {most} neighbours, received {len(features)}"
    )
  return features


def _radii(members, neighbours):
  """Returns each member's squared distance to its k-th nearest other member, `[N, K]`."""
  # Entry 0 of a sorted row is the member itself.
  return np.concatenate(
    [
      np.partition(block, neighbours, axis=1)[:, list(neighbours)]
      for _, block in _distances(members, members)
    ]
  )


def _between(reference, reference_radii, sample, sample_radii):
  """Returns a `PrecisionRecall` for each column of the squared radii, `[N, K]` and `[M, K]`."""
  kinds = reference_radii.shape[1]
  sample_inside = np.zeros([len(sample), kinds], bool)
  reference_inside = np.zeros([len(reference), kinds], bool)
  for start, block in _distances(sample, reference):  # [rows, N]
    rows = slice(start, start + len(block))
    for kind in range(kinds):
      sample_inside[rows, kind] = (block <= reference_radii[:, kind]).any(axis=1)
      reference_inside[:, kind] |= (block <= sample_radii[rows, kind, None]).any(axis=0)
  return [
    PrecisionRecall(float(precision), float(recall))
    for precision, recall in zip(sample_inside.mean(axis=0), reference_inside.mean(axis=0))
  ]


def _distances(points: np.ndarray, members: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
  """Yields squared distances between points `[M, D]` and members `[N, D]`, in blocks of points.

  Each item is the position of the first point and the distances `[rows, N]`.
  """
  start = 0
  for block in sklearn.metrics.pairwise_distances_chunked(
    points, members, metric="euclidean", squared=True, working_memory=BLOCK_MIB
  ):
    yield start, block
    start += len(block)
