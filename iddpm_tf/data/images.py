"""Images between files, bytes 0..255 and the network's [-1, 1]."""

import numpy as np
import tensorflow as tf
from PIL import Image


def centre_crop(image, size):
  """A PIL image of any mode and size, resized and cropped to a square: uint8 [size, size, 3].

  The authors' rule: halved with a box filter while the short side is at least twice `size`, then
  bicubic until it is `size`, then cropped. RGB comes last, as theirs does: transparency
  weighs in the resizing, and palettes are resized by nearest neighbour.
  """
  if size < 1:
    raise ValueError(f"size: expected a positive number of pixels, received {size}")
  if image.mode.startswith("I;16"):
    # Ours: Pillow's conversion to RGB clips 16-bit grey at 255, which is all white.
    image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
  while min(image.size) >= 2 * size:
    image = image.resize([side // 2 for side in image.size], Image.Resampling.BOX)
  scale = size / min(image.size)
  image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)
  pixels = np.asarray(image.convert("RGB"))
  top, left = ((side - size) // 2 for side in pixels.shape[:2])
  return pixels[top:top + size, left:left + size]


def to_unit_range(image):
  """uint8 of any shape to float32 in [-1, 1]: x / 127.5 - 1."""
  return tf.cast(image, tf.float32) / 127.5 - 1.0


def to_uint8(image):
  """Floats of any shape, clipped to [-1, 1], to the nearest of 256 levels: uint8.

  `to_uint8(to_unit_range(x))` is x.
  """
  # The authors truncate: every level between two integers falls to the lower, which darkens
  # samples by half a level on average. Rounding has no such bias.
  levels = (tf.cast(image, tf.float32) + 1.0) * 127.5
  return tf.saturate_cast(tf.round(levels), tf.uint8)
