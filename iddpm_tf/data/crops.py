"""Crops of pictures of any size and mode to squares of RGB, without TensorFlow."""

import numpy as np
from PIL import Image

from iddpm_tf import settings


def centre_crop(image: Image.Image, size: int) -> np.ndarray:
  """Returns a picture of any size and mode, resized and cropped to a square, by the authors' rule.

  The picture is halved with a box filter while its short side is at least twice `size`, resized
  with bicubic interpolation until that side is `size`, and cropped. It becomes RGB last, as in the
  authors' code: transparency therefore weighs in the resizing, and palettes are resized by nearest
  neighbour.

  Returns:
    uint8 [size, size, 3].

  Raises:
    InputError: the size is not positive.
  """
  _require_size(size)
  image = eight_bits(image)
  while min(image.size) >= 2 * size:
    image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
  scale = size / min(image.size)
  new_size = (round(image.width * scale), round(image.height * scale))
  image = image.resize(new_size, Image.Resampling.BICUBIC)
  pixels = np.asarray(image.convert("RGB"))
  top, left = ((side - size) // 2 for side in pixels.shape[:2])
  return pixels[top : top + size, left : left + size]


def area_crop(image: Image.Image, size: int) -> np.ndarray:
  """Returns the square in the middle of a picture, averaged in one step.

  Each pixel is weighted by its area within the new pixel, and the mean is rounded once. (Pillow's
  box filter takes each pixel whole or not at all, and rounds along each axis.) The picture becomes
  RGB first, so that palettes are averaged, too, and transparency has no effect.

  Returns:
    uint8 [size, size, 3].

  Raises:
    InputError: the size is not positive.
  """
  _require_size(size)
  side = min(image.size)
  left, top = ((length - side) // 2 for length in image.size)
  pixels = np.asarray(eight_bits(image).convert("RGB").crop((left, top, left + side, top + side)))
  for _ in range(2):  # Along the rows, then along the columns: the axes are swapped each time.
    pixels = _sums(pixels, size).swapaxes(0, 1)
  return np.floor(pixels / (side / size) ** 2 + 0.5).astype(np.uint8)


def eight_bits(image: Image.Image) -> Image.Image:
  """Returns a picture of 16 bits as one of 8 bits, and any other picture unchanged."""
  # Pillow's own conversion clips at 255, which makes nearly everything white. Older versions of
  # Pillow read a PNG of 16 bits as mode I, with the same values.
  if image.mode.startswith("I"):
    return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
  return image


def _sums(pixels: np.ndarray, size: int) -> np.ndarray:
  """Returns the sums over `size` equal parts of the first axis: [N, M, 3] -> float64 [size, M, 3].

  A pixel on the border of two parts counts in both by its share. This is not a matrix product,
  because BLAS would start threads in every thread that decodes.
  """
  side = len(pixels)
  borders = np.arange(size + 1) * side / size
  pixel = np.minimum(borders.astype(int), side - 1)
  # The share of each cut pixel that lies before the border.
  shares = (borders - pixel)[:, None, None] * pixels[pixel]
  whole = np.add.reduceat(pixels, pixel, axis=0, dtype=np.float64)[:-1]
  # Where parts are smaller than pixels, reduceat returns one pixel instead of none.
  whole[pixel[1:] == pixel[:-1]] = 0
  return whole + shares[1:] - shares[:-1]


def _require_size(size: int) -> None:
  settings.require(size >= 1, "size", "a positive number of pixels", size)
