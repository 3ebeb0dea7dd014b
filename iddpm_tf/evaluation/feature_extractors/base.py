"""The base class of feature extractors."""

import abc
from collections.abc import Mapping
from collections.abc import Sequence
import hashlib
import os
import pathlib
from typing import ClassVar
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.data import arrays
from iddpm_tf.data.records import shards


class Features(NamedTuple):
  """The features of a batch of images, floating-point numbers."""

  pool: np.ndarray  # [B, D], for FID, KID, precision and recall.
  spatial: np.ndarray | None  # [B, S], which depend on the places in the image, for sFID.
  probabilities: np.ndarray | None  # [B, K], p(y|x) of a classifier, for the Inception Score.


class FeatureExtractor(abc.ABC):
  """A network that computes features of images, by which samples are compared with real images.

  A subclass is registered in `registries.FEATURE_EXTRACTORS` under the name of its module, and
  defines `compute`. Its constructor takes the text that chose it. The text is the registered name;
  or, for a class with `accepted_texts`, a text that `accepts` returns True for, such as a path.

  Attributes:
    name: the name in results.
    image_shape: the shape (H, W, C) of the images that it takes; None stands for any size. An
      extractor for 3 channels also takes grey images.
    checksum: a SHA-256 that distinguishes it from other extractors.
    one_size: whether features of images of different sizes cannot be compared.
  """

  # What `accepts` returns True for, in words, such as "the path of a file (*.pb)"; empty if the
  # registered name chooses the class.
  accepted_texts: ClassVar[str] = ""
  one_size: ClassVar[bool] = False

  def __init__(
    self, name: str, *, image_shape: arrays.Shape, files: Sequence[str | os.PathLike[str]]
  ):
    """Sets the attributes.

    Args:
      name: the name in results.
      image_shape: the shape (H, W, C) of the images that it takes; None stands for any size.
      files: the files that the features depend on, such as weights; `[__file__]` if they depend on
        nothing but the code.
    """
    self.name, self.image_shape = name, image_shape
    self.checksum = _checksum(files)

  @classmethod
  def accepts(cls, text: str) -> bool:
    """Returns whether a text chooses this class, if the registered name does not."""
    del text
    return False

  @abc.abstractmethod
  def compute(self, images: tf.Tensor) -> Mapping[str, tf.Tensor | np.ndarray]:
    """Returns the features of images.

    Args:
      images: uint8 `[B, H, W, C]`.

    Returns:
      Floating-point tensors or arrays `[B, ...]` by the names of `Features`. `pool` is required.
    """

  def __call__(self, images: np.ndarray) -> Features:
    """Returns the features of images, uint8 `[B, H, W, C]`.

    Raises:
      InputError: the network does not return `pool`, or floating-point numbers for each image.
    """
    if images.shape[-1] == 1 and self.image_shape[-1] == 3:
      images = np.repeat(images, 3, axis=-1)  # Grey images, for a network of colours.
    outputs = self.compute(tf.constant(images))
    if "pool" not in outputs:
      message = f"expected an extractor that returns 'pool', received {self.name} ({[*outputs]})"
      raise settings.InputError("features", message)
    parts = {
      name: self._flat(tf.convert_to_tensor(outputs[name]), len(images))
      for name in Features._fields
      if name in outputs
    }
    return Features(parts["pool"], parts.get("spatial"), parts.get("probabilities"))

  def require_shape(self, shape: tuple[int, ...]) -> None:
    """Raises an `InputError` unless the extractor takes images of a shape (H, W, C)."""
    grey_as_colours = (*shape[:2], 3) if shape[-1] == 1 else shape
    if not (self._fits(shape) or self._fits(grey_as_colours)):
      raise settings.InputError(
        "features",
        f"expected an extractor for images of {shape_text(shape)}, received {self.name}, which "
        f"takes {shape_text(self.image_shape)}",
      )

  def _fits(self, shape: tuple[int, ...]) -> bool:
    return all(own in (None, size) for own, size in zip(self.image_shape, shape))

  def _flat(self, output: tf.Tensor, count: int) -> np.ndarray:
    """Returns an output as `[count, D]`."""
    if not output.dtype.is_floating or output.shape.rank < 2 or output.shape[0] != count:
      raise settings.InputError(
        "features",
        f"expected floating-point features [N, ...] of N images, received {output.dtype.name} "
        f"{output.shape.as_list()} of {count} images ({self.name})",
      )
    return output.numpy().reshape(count, -1)


def shape_text(shape: Sequence[int | None]) -> str:
  """Returns a shape as text, such as `8x8x1`."""
  return "x".join("any" if size is None else str(size) for size in shape)


def _checksum(files: Sequence[str | os.PathLike[str]]) -> str:
  """Returns the SHA-256 of one file, or of the checksums of several files."""
  checksums = [shards.checksum(pathlib.Path(path)) for path in files]
  if len(checksums) == 1:
    return checksums[0]
  return hashlib.sha256("".join(checksums).encode()).hexdigest()
