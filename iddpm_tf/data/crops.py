"""Crops of pictures of any size and mode to squares of RGB or RGBA, without TensorFlow."""

import numpy as np
from PIL import Image

from iddpm_tf import settings

# A picture that would be resized to more pixels than this, most of which would be cropped away, is
# cropped first.
_MAX_RESIZED = 2**24
_LONG = 8  # The ratio of the sides from which on most pixels are cropped away.
_MARGIN = 4  # Pixels, more than bicubic interpolation reaches.


def centre_crop(image: Image.Image, size: int, *, mode: str = "RGB") -> np.ndarray:
  """Returns a picture of any size and mode, resized and cropped to a square, by the authors' rule.

  The picture is halved with a box filter while its short side is at least twice `size`, resized
  with bicubic interpolation until that side is `size`, and cropped. It becomes RGB last, as in the
  authors' code: transparency therefore weighs in the resizing, and palettes are resized by nearest
  neighbour.

  Args:
    image: the picture.
    size: the height and width.
    mode: `RGB`, or `RGBA` for a picture of this mode. Pillow resizes it with premultiplied alpha.

  Returns:
    uint8 [size, size, 3 or 4].

  Raises:
    InputError: the size is not positive.
  """
  _require_size(size)
  image = eight_bits(image)
  while min(image.size) >= 2 * size:
    image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
  scale = size / min(image.size)
  new_size = (round(image.width * scale), round(image.height * scale))
  left, top = ((side - size) // 2 for side in new_size)
  if new_size[0] * new_size[1] > _MAX_RESIZED and max(new_size) > _LONG * size:
    image = _resized_middle(image, size, new_size)
  else:
    image = image.resize(new_size, Image.Resampling.BICUBIC)
    image = image.crop((left, top, left + size, top + size))
  return np.asarray(image.convert(mode))


def area_crop(image: Image.Image, size: int, *, mode: str = "RGB") -> np.ndarray:
  """Returns the square in the middle of a picture, averaged in one step.

  Each pixel is weighted by its area within the new pixel, and the mean is rounded once. (Pillow's
  box filter takes each pixel whole or not at all, and rounds along each axis.) The picture becomes
  RGB first, so that palettes are averaged, too, and transparency has no effect.

  Args:
    image: the picture.
    size: the height and width.
    mode: `RGB`, or `RGBA`, where each colour is also weighted by its alpha.

  Returns:
    uint8 [size, size, 3 or 4].

  Raises:
    InputError: the size is not positive.
  """
  _require_size(size)
  side = min(image.size)
  left, top = ((length - side) // 2 for length in image.size)
  image = eight_bits(image).crop((left, top, left + side, top + side))
  pixels = np.asarray(image.convert(mode))
  if mode == "RGBA":
    pixels = np.concatenate([pixels[..., :3] * (pixels[..., 3:] / 255), pixels[..., 3:]], axis=-1)
  for _ in range(2):  # Along the rows, then along the columns: the axes are swapped each time.
    pixels = _sums(pixels, size).swapaxes(0, 1)
  means = pixels / (side / size) ** 2
  if mode == "RGBA":
    alpha = means[..., 3:] / 255
    means[..., :3] /= np.where(alpha > 0, alpha, 1)
  return np.floor(means + 0.5).clip(0, 255).astype(np.uint8)


def eight_bits(image: Image.Image, max_value: int = 0) -> Image.Image:
  """Returns a picture of 16 bits as one of 8 bits, and any other picture unchanged.

  Args:
    image: the picture.
    max_value: the value that becomes 255; 0: 65535, of which the upper 8 bits are taken.
  """
  # Pillow's own conversion clips at 255, which makes nearly everything white. Older versions of
  # Pillow read a PNG of 16 bits as mode I, with the same values.
  if not image.mode.startswith("I"):
    return image
  values = np.asarray(image)
  if max_value:
    values = np.floor(values.clip(0, max_value) * (255 / max_value) + 0.5)
  else:
    values = (values >> 8).clip(0, 255)
  return Image.fromarray(values.astype(np.uint8))


def _resized_middle(image: Image.Image, size: int, new_size: tuple[int, int]) -> Image.Image:
  """Returns the middle of `image.resize(new_size)`, of which the rest is not computed."""
  window, box = [], []
  for old, new in zip(image.size, new_size):
    first = (new - size) // 2 * old / new
    last = ((new - size) // 2 + size) * old / new
    start = max(0, int(first) - _MARGIN)
    window.append((start, min(old, int(last) + 1 + _MARGIN)))
    box.append((first - start, last - start))
  (left, right), (top, bottom) = window
  corners = (box[0][0], box[1][0], box[0][1], box[1][1])
  image = image.crop((left, top, right, bottom))
  return image.resize((size, size), Image.Resampling.BICUBIC, box=corners)


def _sums(pixels: np.ndarray, size: int) -> np.ndarray:
  """Returns the sums over `size` equal parts of the first axis: [N, M, C] -> float64 [size, M, C].

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
