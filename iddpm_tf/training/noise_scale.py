"""The gradient noise scale: about the batch beyond which more images a step stop paying (Figure 7)."""

import math
from typing import NamedTuple


class Estimates(NamedTuple):
  """Unbiased, of an infinite batch. Either may be averaged over steps; their ratio may not."""

  squared_norm: float  # |G|^2 of the true gradient; negative where noise drowns it.
  trace: float  # tr(Sigma), the variance of one image's gradient, summed over the weights.


def estimates(*, small, big, small_batch, big_batch):
  """Appendix A.1 of McCandlish et al. (2018), Eq. A.2: from E|G_B|^2 = |G|^2 + tr(Sigma) / B at two B.

  Args:
    small: |G|^2 of gradients of `small_batch` images; a mean over many is as good.
    big: |G|^2 of gradients of `big_batch` images.
  """
  return Estimates(
    squared_norm=(big_batch * big - small_batch * small) / (big_batch - small_batch),
    trace=(small - big) / (1 / small_batch - 1 / big_batch),
  )


def simple_noise_scale(averages):
  """B_simple = tr(Sigma) / |G|^2, in images, of `Estimates` that are averages over steps.

  None where the averages do not tell: where |G|^2 is not positive, hence drowned by noise, or where either is not
  finite.
  """
  squared_norm, trace = averages
  if not (0 < squared_norm < math.inf and 0 <= trace < math.inf):
    return None
  return trace / squared_norm
