"""The Fréchet distance (FID, Heusel et al. 2017) between Gaussians fitted to features."""

from collections.abc import Iterable
import dataclasses
import functools
from typing import NamedTuple

import numpy as np

from iddpm_tf import settings

# The largest relative error of a covariance that counts as rounding. Single precision stays far
# below it, and a damaged file far above.
_ROUNDING = 1e-4
_BLOCKS = 10  # Blocks of each half of the images. A jackknife leaves out one of each.
MIN_TO_EXTRAPOLATE = 2 * _BLOCKS  # The fewest images whose distance is extrapolated.
ENOUGH_TO_EXTRAPOLATE = 5  # Times the number of features.
_SEED = 0


class Gaussian(NamedTuple):
  """The mean and the covariance of a set of features."""

  mean: np.ndarray  # [D]
  covariance: np.ndarray  # [D, D]


class Extrapolated(NamedTuple):
  """A distance that was extrapolated to infinitely many samples."""

  distance: float
  standard_error: float  # By a jackknife over blocks of samples.


@dataclasses.dataclass(frozen=True)
class Statistics:
  """Sums over a set of features, which can be merged with the sums over another set."""

  count: int
  mean: np.ndarray  # [D], float64.
  scatter: np.ndarray  # [D, D], float64, the sum of outer products of deviations from the mean.

  @property
  def gaussian(self) -> Gaussian:
    """The fitted `Gaussian`, with the unbiased covariance.

    Raises:
      InputError: there are fewer than two features.
    """
    if self.count < 2:
      raise settings.InputError(
        "features", f"expected at least 2 rows for a covariance, received {self.count}"
      )
    return Gaussian(self.mean, self.scatter / (self.count - 1))


def statistics(features: np.ndarray) -> Statistics:
  """Returns the `Statistics` of features `[N, D]`.

  Raises:
    InputError: as `require_features`.
  """
  features = require_features("features", features)
  mean = features.mean(axis=0)
  deviations = features - mean
  return Statistics(len(features), mean, deviations.T @ deviations)


def merge(a: Statistics, b: Statistics) -> Statistics:
  """Returns the `Statistics` of the union of two sets.

  Raises:
    InputError: the features of the sets have different sizes.
  """
  _require_same_size("features", a.mean, b.mean)
  count = a.count + b.count
  shift = b.mean - a.mean
  # Chan et al. (1983). With deviations, not raw second moments, nothing cancels where the mean is
  # large.
  return Statistics(
    count,
    a.mean + shift * (b.count / count),
    a.scatter + b.scatter + np.outer(shift, shift) * (a.count * b.count / count),
  )


def accumulate(batches: Iterable[np.ndarray]) -> Statistics:
  """Returns the `Statistics` of batches of features `[N, D]`, and holds one batch at a time.

  Raises:
    InputError: there is no batch, or as `statistics` and `merge`.
  """
  parts = map(statistics, batches)
  first = next(parts, None)
  if first is None:
    raise settings.InputError("features", "expected at least one batch, received none")
  return functools.reduce(merge, parts, first)


def frechet_distance(reference: Gaussian, sample: Gaussian) -> float:
  """Returns |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2), at least 0.

  Covariances may be singular, as they are with fewer images than features.

  Raises:
    InputError: the features have different sizes, a number is not finite, or a covariance is not
      symmetric or has negative eigenvalues.
  """
  require_gaussian("reference", reference)
  return max(_distance(reference, _factor(reference.covariance), sample), 0.0)


def _distance(reference, factor, sample):
  """Returns the distance from a reference, whose `_factor` is known. Rounding can make it -1e-9."""
  _require_same_size("sample", reference.mean, sample.mean)
  require_gaussian("sample", sample)
  shift = np.asarray(reference.mean, np.float64) - np.asarray(sample.mean, np.float64)
  # With C = F F^T, the singular values of F1^T F2 are the square roots of the eigenvalues of
  # C1^1/2 C2 C1^1/2. Taking them directly, not as roots, keeps rounding errors of zero
  # eigenvalues at 1e-16 instead of 1e-8 each.
  cross = np.linalg.svd(factor.T @ _factor(sample.covariance), compute_uv=False)
  distance = (
    shift @ shift + np.trace(reference.covariance) + np.trace(sample.covariance) - 2 * cross.sum()
  )
  return float(distance)


def extrapolated_distance(reference: Gaussian, sample: np.ndarray) -> Extrapolated:
  """Returns the Fréchet distance that infinitely many samples would have (Chong & Forsyth, 2020).

  The distance of N samples is too large by about c / N. This computes it of all samples and of two
  random halves (with a fixed seed), fits a line over 1 / N, and returns its value at 1 / N = 0.
  The result can be below 0 where the distance is nearly 0. What few real images add to the distance
  remains in it.

  Args:
    reference: the Gaussian of the real images.
    sample: features of samples, `[N, D]`. With fewer than about 5 D, the true distances do not lie
      on a line, and the result is wrong by more than its standard error.

  Raises:
    InputError: there are fewer than `MIN_TO_EXTRAPOLATE` samples, or as `frechet_distance`.
  """
  require_finite("sample", sample)
  if len(sample) < MIN_TO_EXTRAPOLATE:
    raise settings.InputError(
      "sample",
      f"expected {MIN_TO_EXTRAPOLATE} images or more to extrapolate FID, received {len(sample)}",
    )
  require_gaussian("reference", reference)
  factor = _factor(reference.covariance)

  def at_infinity(halves):
    first, second = (functools.reduce(merge, half) for half in halves)
    whole, *parts = (
      _distance(reference, factor, part.gaussian) for part in (merge(first, second), first, second)
    )
    return 2 * whole - np.mean(parts)  # A half has N / 2 samples.

  order = np.random.RandomState(_SEED).permutation(len(sample))
  blocks = [statistics(sample[part]) for part in np.array_split(order, 2 * _BLOCKS)]
  halves = blocks[:_BLOCKS], blocks[_BLOCKS:]
  others = [at_infinity([half[:i] + half[i + 1 :] for half in halves]) for i in range(_BLOCKS)]
  error = np.sqrt((_BLOCKS - 1) * np.var(others))
  return Extrapolated(float(at_infinity(halves)), float(error))


def require_features(name: str, features: np.ndarray) -> np.ndarray:
  """Returns features `[N, D]` as float64.

  Raises:
    InputError: as `require_finite`.
  """
  features = np.asarray(features, np.float64)
  require_finite(name, features)
  return features


def require_finite(name: str, features: np.ndarray) -> None:
  """Checks features.

  Args:
    name: what they are, for the error.
    features: `[N, D]`.

  Raises:
    InputError: N or D is 0, the shape is another one, or a number is not finite.
  """
  if features.ndim != 2 or 0 in features.shape:
    raise settings.InputError(
      name, f"expected shape [N, D] with N and D above 0, received {list(features.shape)}"
    )
  broken = np.count_nonzero(~np.isfinite(features).all(axis=1))
  if broken:
    raise settings.InputError(
      name,
      f"expected finite numbers, received {broken} of {len(features)} rows with NaN or infinity",
    )


def _factor(covariance):
  """Returns F `[D, rank]` with F F^T = covariance `[D, D]`, without directions of rounding."""
  values, vectors = np.linalg.eigh(np.asarray(covariance, np.float64))
  _require_no_negative("covariance", values)
  keep = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0)
  return vectors[:, keep] * np.sqrt(values[keep])


def _require_no_negative(name, values):
  if values[0] < -_ROUNDING * np.abs(values).max():
    raise settings.InputError(
      name,
      f"expected no negative eigenvalues of the covariance, received {values[0]:g} beside "
      f"{values[-1]:g}",
    )


def require_semidefinite(name: str, covariance: np.ndarray) -> None:
  """Raises an `InputError` with a name if a symmetric matrix `[D, D]` has negative eigenvalues."""
  _require_no_negative(name, np.linalg.eigvalsh(covariance))


def _require_same_size(name, expected, received):
  """Compares the sizes of two means `[D]`."""
  if len(expected) != len(received):
    raise settings.InputError(
      name, f"expected {len(expected)} numbers per image, received {len(received)}"
    )


def require_gaussian(name: str, gaussian: Gaussian) -> None:
  """Checks the mean and the covariance of a `Gaussian`.

  Raises:
    InputError: a number is not finite, the sizes differ, or the covariance is not symmetric. The
      error has `name`.
  """
  size = len(gaussian.mean)
  if np.shape(gaussian.covariance) != (size, size):
    raise settings.InputError(
      name,
      f"expected a covariance of shape {[size, size]}, "
      f"received {list(np.shape(gaussian.covariance))}",
    )
  if not (np.isfinite(gaussian.mean).all() and np.isfinite(gaussian.covariance).all()):
    raise settings.InputError(
      name, "expected a finite mean and covariance, received NaN or infinity"
    )
  largest = np.abs(gaussian.covariance).max()
  if np.abs(gaussian.covariance - gaussian.covariance.T).max() > _ROUNDING * largest:
    raise settings.InputError(name, "expected a symmetric covariance, received another matrix")
