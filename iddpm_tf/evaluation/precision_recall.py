"""Improved precision and recall (Kynkäänniemi et al. 2019)."""

from typing import NamedTuple

import numpy as np
import sklearn.metrics

from iddpm_tf.evaluation import frechet

BLOCK_MIB = 256  # Of distances in memory at a time.


class PrecisionRecall(NamedTuple):
  precision: float  # Fraction of the samples within the reference's manifold.
  recall: float  # Fraction of the reference within the samples' manifold.


def precision_recall(reference, sample, *, neighbours=3):
  """`PrecisionRecall` of features [N, D] and [M, D].

  A set's manifold is the union of balls about its members, each reaching to the member's
  `neighbours`-th nearest neighbour in the set (k in the paper's Eq. 1).

  `ValueError` if a set has no more members than neighbours, features are not finite, or the
  feature sizes differ.
  """
  reference = _checked("reference", reference, neighbours)
  sample = _checked("sample", sample, neighbours)
  if reference.shape[1] != sample.shape[1]:
    raise ValueError(f"sample: expected {reference.shape[1]} numbers a feature, as the reference has, "
                     f"received {sample.shape[1]}")
  # Distances are the same about any origin; a near one makes |a|^2 + |b|^2 - 2ab exacter.
  centre = reference.mean(axis=0)
  reference, sample = reference - centre, sample - centre
  # That sum is rounded, by up to about this much: without the slack an exact copy of a
  # member could fall outside a ball of radius 0, which is what repeated images have.
  slack = 1e-12 * max(np.square(features).sum(axis=1).max() for features in (reference, sample))
  return PrecisionRecall(
      precision=_fraction_inside(sample, reference, _radii(reference, neighbours) + slack),
      recall=_fraction_inside(reference, sample, _radii(sample, neighbours) + slack))


def _checked(name, features, neighbours):
  if neighbours < 1:
    raise ValueError(f"neighbours: expected a number of at least 1, received {neighbours}")
  features = frechet.require_features(name, features)
  if len(features) <= neighbours:
    raise ValueError(f"{name}: expected more than {neighbours} features for {neighbours} neighbours, "
                     f"received {len(features)}")
  return features


def _radii(members, neighbours):
  """Squared distance of each member [N, D] to its `neighbours`-th nearest other member: [N]."""
  # Entry 0 of a sorted row is the member itself.
  return _reduce_distances(
      members, members, lambda block: np.partition(block, neighbours, axis=1)[:, neighbours])


def _fraction_inside(points, members, radii):
  """Fraction of points [M, D] within the squared radius [N] of at least one member [N, D]."""
  return float(_reduce_distances(points, members, lambda block: (block <= radii).any(axis=1)).mean())


def _reduce_distances(points, members, reduce_rows):
  """`reduce_rows` of the squared distances [M, N], in blocks of rows: [M]."""
  blocks = sklearn.metrics.pairwise_distances_chunked(
      points, members, metric="euclidean", squared=True, working_memory=BLOCK_MIB,
      reduce_func=lambda block, start: reduce_rows(block))
  return np.concatenate(list(blocks))
