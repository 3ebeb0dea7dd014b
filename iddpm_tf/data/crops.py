"""Pictures of any size and mode to squares of RGB, without TensorFlow."""

import numpy as np
from PIL import Image

from iddpm_tf import settings


def centre_crop(image, size):
  """A PIL image of any mode and size, resized and cropped to a square: uint8 [size, size, 3].

  The authors' rule: halved with a box filter while the short side is at least twice `size`, then
  bicubic until it is `size`, then cropped. RGB comes last, as theirs does: transparency
  weighs in the resizing, and palettes are resized by nearest neighbour.
  """
  _require_size(size)
  image = eight_bits(image)
  while min(image.size) >= 2 * size:
    image = image.resize([side // 2 for side in image.size], Image.Resampling.BOX)
  scale = size / min(image.size)
  image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)
  pixels = np.asarray(image.convert("RGB"))
  top, left = ((side - size) // 2 for side in pixels.shape[:2])
  return pixels[top : top + size, left : left + size]


def area_crop(image, size):
  """The square in the middle of a PIL image, averaged in one step: uint8 [size, size, 3].

  Each pixel weighs by its area within the new one, and the mean is rounded once. (Pillow's box filter takes
  pixels whole or not at all, and rounds along each axis.) RGB comes first, so that palettes are averaged too
  and transparency counts for nothing.
  """
  _require_size(size)
  side = min(image.size)
  left, top = ((length - side) // 2 for length in image.size)
  pixels = np.asarray(eight_bits(image).convert("RGB").crop((left, top, left + side, top + side)))
  for _ in range(2):  # Along the rows, then along the columns: each time the axes change places.
    pixels = _sums(pixels, size).swapaxes(0, 1)
  return np.floor(pixels / (side / size) ** 2 + 0.5).astype(np.uint8)


def _sums(pixels, size):
  """Sums of `size` equal parts of the first axis, a pixel on a border counting in both by its share.

  Not by a matrix product: BLAS would start threads in every thread that decodes.
  """
  side = len(pixels)
  borders = np.arange(size + 1) * side / size
  pixel = np.minimum(borders.astype(int), side - 1)
  # Of the pixel that a border cuts, what lies before the border.
  shares = (borders - pixel)[:, None, None] * pixels[pixel]
  whole = np.add.reduceat(pixels, pixel, axis=0, dtype=np.float64)[:-1]
  whole[pixel[1:] == pixel[:-1]] = (
    0  # Where parts are smaller than pixels; reduceat takes one at least.
  )
  return whole + shares[1:] - shares[:-1]


def eight_bits(image):
  """A PIL image of 16 bits as one of 8; any other as it is."""
  # Ours: Pillow's own conversion clips at 255, which is all white. Older versions of Pillow read a
  # PNG of 16 bits as one of mode I, with the same values.
  if image.mode.startswith("I"):
    return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
  return image


def _require_size(size):
  if size < 1:
    raise settings.InputError("size", f"expected a positive number of pixels, received {size}")
