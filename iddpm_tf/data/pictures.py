"""Pictures for people: grids of images, and PNG files."""

import numpy as np
from PIL import Image

from iddpm_tf import settings
from iddpm_tf.utils import files

MIN_CELL = 32  # Pixels: smaller images are magnified in a grid.
GAP = 2  # Between images, and around them.
_GREY = 96


def image_grid(images, columns):
  """uint8 [N, H, W, C], row by row, as one picture [height, width, C]; cells left over are black.

  Images stand `GAP` apart on grey; tiny ones are magnified by a whole number, pixel by pixel.
  """
  images = np.asarray(images)
  _require_uint8("images", images, rank=4)
  if columns < 1:
    raise settings.InputError("columns", f"expected a number of at least 1, received {columns}")
  number, height, width, channels = images.shape
  rows = -(-number // columns)
  cells = np.zeros([rows * columns, height, width, channels], np.uint8)
  cells[:number] = images
  magnification = -(-MIN_CELL // height)
  cells = cells.repeat(magnification, axis=1).repeat(magnification, axis=2)
  cells = np.pad(cells, ((0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=_GREY)
  _, height, width, _ = cells.shape
  # [rows, columns, H, W, C] -> [rows, H, columns, W, C]
  picture = cells.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
  picture = picture.reshape(rows * height, columns * width, channels)
  return np.pad(picture, ((GAP, 0), (GAP, 0), (0, 0)), constant_values=_GREY)


def write_png(path, image):
  """Writes uint8 [H, W, 1 or 3] as a PNG file; the file appears whole or not at all."""
  image = np.asarray(image)
  _require_uint8("image", image, rank=3)
  if image.shape[-1] not in (1, 3):
    raise settings.InputError("image", f"expected 1 or 3 channels, received {image.shape[-1]}")
  with files.whole(path) as temporary:
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(temporary, format="PNG")


def _require_uint8(name, array, rank):
  if array.dtype != np.uint8 or array.ndim != rank or 0 in array.shape:
    raise settings.InputError(
      name,
      f"expected uint8 of {rank} dimensions, none of them 0, "
      f"received {array.dtype} {list(array.shape)}",
    )
