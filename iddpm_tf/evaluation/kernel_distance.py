"""The kernel inception distance, KID (Binkowski et al., 2018)."""

from typing import NamedTuple

import numpy as np

from iddpm_tf import settings
from iddpm_tf.evaluation import frechet

_BLOCK_SIZE, _MIN_BLOCKS = 1000, 10
_ROWS = 1000  # Rows of kernel values that are in memory at a time.
_SEED = 0


class KernelDistance(NamedTuple):
  """A kernel distance, the mean over blocks."""

  mean: float
  standard_error: float | None  # Of the mean; None where there is one block only.


def kernel_distance(reference: np.ndarray, sample: np.ndarray) -> KernelDistance:
  """Returns the squared maximum mean discrepancy of two sets of features.

  The kernel is k(x, y) = (x . y / D + 1)^3. Both sets are divided at random, always in the same
  way, into as many blocks: one for each 1,000 members of the smaller set, and at least ten where
  each has two members or more. The result is the mean of the blocks' unbiased estimates, and is
  unbiased, too. Hence it may be below 0 for sets of the same distribution, and does not depend on
  the numbers of images, as FID does.

  Args:
    reference: features of real images, `[N, D]`.
    sample: features of samples, `[M, D]`.

  Raises:
    InputError: a set has fewer than two members, features are not finite, or their sizes differ.
  """
  reference, sample = (
    frechet.require_features(name, features)
    for name, features in (("reference", reference), ("sample", sample))
  )
  for name, features in (("reference", reference), ("sample", sample)):
    if len(features) < 2:
      raise settings.InputError(
        name, f"expected 2 images or more for KID, received {len(features)}"
      )
  if reference.shape[1] != sample.shape[1]:
    raise settings.InputError(
      "sample",
      f"expected {reference.shape[1]} numbers per image, as the reference has, "
      f"received {sample.shape[1]}",
    )
  smaller = min(len(reference), len(sample))
  blocks = min(max(_MIN_BLOCKS, smaller // _BLOCK_SIZE), smaller // 2)
  estimates = [
    squared_mmd(real, drawn)
    for real, drawn in zip(_divided(reference, blocks), _divided(sample, blocks), strict=True)
  ]
  error = float(np.std(estimates, ddof=1) / np.sqrt(blocks)) if blocks > 1 else None
  return KernelDistance(float(np.mean(estimates)), error)


def squared_mmd(x: np.ndarray, y: np.ndarray) -> float:
  """Returns the unbiased estimate of the squared maximum mean discrepancy (their Eq. 4).

  Args:
    x: features, float64 `[N, D]`, where N is 2 or more.
    y: features, float64 `[M, D]`, where M is 2 or more.
  """
  within = sum(
    (_kernel_sum(z, z) - _kernel_of_selves(z).sum()) / (len(z) * (len(z) - 1)) for z in (x, y)
  )
  return float(within - 2 * _kernel_sum(x, y) / (len(x) * len(y)))


def _divided(features: np.ndarray, blocks: int) -> list[np.ndarray]:
  """Returns all features in random blocks. The images may be sorted by class."""
  order = np.random.RandomState(_SEED).permutation(len(features))
  return [features[part] for part in np.array_split(order, blocks)]


def _kernel_sum(x: np.ndarray, y: np.ndarray) -> float:
  """Returns the sum of the kernel over all pairs."""
  return sum(
    ((x[start : start + _ROWS] @ y.T / x.shape[1] + 1) ** 3).sum()
    for start in range(0, len(x), _ROWS)
  )


def _kernel_of_selves(x: np.ndarray) -> np.ndarray:
  """Returns k(x, x) of each row, `[N]`."""
  return (np.square(x).sum(axis=1) / x.shape[1] + 1) ** 3
