"""Scores of images from Python."""

from collections.abc import Sequence
import os

import numpy as np

from iddpm_tf.data import image_files
from iddpm_tf.evaluation import scoring
from iddpm_tf.utils import progress as progress_lib


def score(
  images: np.ndarray | str | os.PathLike[str],
  reference: np.ndarray | str | os.PathLike[str] | None = None,
  *,
  scores: Sequence[str] = ("fid",),
  features: str | None = None,
  batch_size: int = 100,
  progress: bool | progress_lib.Progress = True,
) -> dict[str, float]:
  """Scores images against real ones.

  Args:
    images: the images to score, uint8 `[N, H, W, C]`, or their path: an .npz (arr_0) or .npy file,
      a picture, a folder of pictures, or records.
    reference: real images or their path, in the same forms; or the path of an .npz file of their
      statistics. The Inception Score needs none.
    scores: names of fid, fid_infinity, sfid, inception_score, precision_recall and kid.
    features: a feature extractor: "digits", "random", the path of the Inception graph, or the
      folder of a SavedModel. None is "digits" for images of 8x8x1, otherwise "random", whose scores
      can be compared with each other only.
    batch_size: images at a time.
    progress: True shows bars, False shows none; or a `Progress`.

  Returns:
    The scores by name: `fid`, `sfid`, `inception_score`; `precision_k3`, `recall_k3`,
    `precision_k5`, `recall_k5`; `kid` and `kid_standard_error`; `fid_infinity`, which is FID
    extrapolated to infinitely many samples, and `fid_infinity_standard_error`.

  Raises:
    InputError: a wrong argument.
  """
  if isinstance(images, (str, os.PathLike)):
    images = np.asarray(image_files.read(images).images[:])
  return scoring.score(
    images,
    reference,
    scores=(scores,) if isinstance(scores, str) else tuple(scores),
    features=features,
    batch_size=batch_size,
    progress=progress_lib.make(progress),
  )
