"""The Inception Score (Salimans et al. 2016)."""

import numpy as np
import scipy.special

from iddpm_tf import settings
from iddpm_tf.evaluation import frechet


def inception_score(probabilities: np.ndarray, *, split_size: int = 5000) -> float:
  """Returns exp(mean KL(p(y|x) || p(y))), averaged over splits.

  The score is between 1 and the number of classes.

  Args:
    probabilities: p(y|x) of a classifier for each image, `[N, classes]`.
    split_size: the number of images per split, in order. The last split may be smaller.

  Raises:
    InputError: rows are not finite distributions, or a split has no images.
  """
  probabilities = frechet.require_features("probabilities", probabilities)
  if split_size < 1:
    raise settings.InputError(
      "split_size", f"expected a number of at least 1, received {split_size}"
    )
  sums = probabilities.sum(axis=1)
  # A softmax over 1008 classes in half precision stays within this.
  if probabilities.min() < 0 or np.abs(sums - 1).max() > 0.01:
    raise settings.InputError(
      "probabilities",
      "expected rows of non-negative numbers that sum to 1, received "
      f"a minimum of {probabilities.min():g} and sums of {sums.min():g} to {sums.max():g}",
    )
  return float(
    np.mean(
      [
        _score(probabilities[start : start + split_size])
        for start in range(0, len(probabilities), split_size)
      ]
    )
  )


def _score(probabilities):
  # rel_entr(p, q) is p log(p / q), and 0 where p is 0.
  divergences = scipy.special.rel_entr(probabilities, probabilities.mean(axis=0)).sum(axis=1)
  return np.exp(divergences.mean())
