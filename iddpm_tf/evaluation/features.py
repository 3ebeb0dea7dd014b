"""The choice of a feature extractor by its text: a name or a path."""

from collections.abc import Callable
from collections.abc import Iterator
import pathlib

import numpy as np
import tensorflow as tf

from iddpm_tf import registries
from iddpm_tf import settings
from iddpm_tf.data import arrays
from iddpm_tf.evaluation import digits_classifier
from iddpm_tf.evaluation.feature_extractors import base
from iddpm_tf.evaluation.feature_extractors import digits
from iddpm_tf.evaluation.feature_extractors import inception
from iddpm_tf.evaluation.feature_extractors import random
from iddpm_tf.utils import progress as progress_lib


def load(text: str) -> base.FeatureExtractor:
  """Returns a feature extractor.

  Args:
    text: a registered name, such as `digits`, or a text that a registered class accepts, such as
      the path of the Inception graph or the folder of a SavedModel.

  Raises:
    InputError: no extractor is chosen by this text, or the chosen one cannot be loaded.
  """
  registry = registries.FEATURE_EXTRACTORS
  kinds = {name: registry.get(name) for name in registry.names()}
  if text in kinds and not kinds[text].accepted_texts:
    return kinds[text](text)
  for kind in kinds.values():
    if kind.accepts(text):
      return kind(text)
  expected = ", ".join(kind.accepted_texts or name for name, kind in kinds.items())
  problem = "is none of them" if pathlib.Path(text).exists() else "does not exist"
  raise settings.InputError(
    "features",
    f"expected one of {expected}, received {text}, which {problem}; the Inception graph is at "
    f"{inception.URL}",
  )


def note_of_default(extractor: base.FeatureExtractor) -> str | None:
  """Returns a line about an extractor that nobody has chosen, or None where it needs none."""
  if extractor.name != random.NAME:
    return None
  return (
    "note: these scores use random features, and can be compared with each other only; published "
    f"scores use the Inception graph, whose path is a value of features ({inception.URL})"
  )


def batches(
  extract: Callable[[np.ndarray], base.Features],
  images: arrays.Images,
  positions: np.ndarray,
  *,
  batch_size: int,
  description: str,
  progress: progress_lib.Progress,
) -> Iterator[base.Features]:
  """Yields the features of each batch of images.

  Args:
    extract: a feature extractor, or another function of uint8 [B, H, W, C].
    images: uint8 [N, H, W, C], an array or anything that is indexed like one.
    positions: the positions of the images, int [M].
    batch_size: images at a time.
    description: the description of the bar.
    progress: shows the images that are done.
  """
  with progress.bar(total=len(positions), unit="image", description=description) as bar:
    for start in range(0, len(positions), batch_size):
      batch = np.asarray(images[positions[start : start + batch_size]])
      yield extract(batch)
      bar.update(len(batch))


def for_images(text: str | None, shape: tuple[int, ...]) -> base.FeatureExtractor:
  """Returns a feature extractor that was tried on images of a shape.

  Args:
    text: see `load`. None chooses `digits` for images of the shape of the embedded digits, and
      `random` for others.
    shape: the shape (H, W, C) of the images.

  Raises:
    InputError: as `load`, or the extractor does not take such images.
  """
  if text is None:
    text = digits.NAME if tuple(shape) == digits_classifier.IMAGE_SHAPE else random.NAME
  extractor = load(text)
  extractor.require_shape(shape)
  try:
    extractor(np.zeros([2, *shape], np.uint8))
  except tf.errors.OpError as error:
    raise settings.InputError(
      "features",
      f"expected an extractor for images of {base.shape_text(shape)}, received {text}, which fails "
      f"on them ({str(error).splitlines()[0]})",
    ) from None
  return extractor
