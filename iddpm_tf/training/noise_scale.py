"""The gradient noise scale, above which more images per step help little (Figure 7)."""

import math
from typing import NamedTuple


class Estimates(NamedTuple):
  """Unbiased estimates. Each may be averaged over steps; their ratio may not."""

  squared_norm: float  # |G|^2 of the true gradient; negative where noise exceeds it.
  trace: float  # tr(Sigma), the variance of one image's gradient, summed over the weights.


def estimates(*, small: float, big: float, small_batch: int, big_batch: int) -> Estimates:
  """Returns the estimates of two batch sizes, from E|G_B|^2 = |G|^2 + tr(Sigma) / B.

  McCandlish et al. (2018), Appendix A.1, Eq. A.2.

  Args:
    small: |G|^2 of gradients of `small_batch` images, or its mean over several of them.
    big: |G|^2 of gradients of `big_batch` images.
    small_batch: the smaller number of images.
    big_batch: the larger number of images.
  """
  return Estimates(
    squared_norm=(big_batch * big - small_batch * small) / (big_batch - small_batch),
    trace=(small - big) / (1 / small_batch - 1 / big_batch),
  )


def simple_noise_scale(averages: Estimates) -> float | None:
  """Returns B_simple = tr(Sigma) / |G|^2 in images, of estimates that are averages over steps.

  The result is None where the averages do not determine it: where |G|^2 is not positive because
  noise exceeds it, or where a value is not finite.
  """
  squared_norm, trace = averages
  if not (0 < squared_norm < math.inf and 0 <= trace < math.inf):
    return None
  return trace / squared_norm
