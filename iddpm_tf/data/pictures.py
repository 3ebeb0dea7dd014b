"""Pictures for people: grids of images, and PNG files."""

import os
import pathlib

import numpy as np
from PIL import Image


def image_grid(images, columns):
  """uint8 [N, H, W, C], row by row, to [ceil(N / columns) H, columns W, C]; the rest is black."""
  images = np.asarray(images)
  _require_uint8("images", images, rank=4)
  if columns < 1:
    raise ValueError(f"columns: expected a number of at least 1, received {columns}")
  number, height, width, channels = images.shape
  rows = -(-number // columns)
  cells = np.zeros([rows * columns, height, width, channels], np.uint8)
  cells[:number] = images
  cells = cells.reshape(rows, columns, height, width, channels)
  # [rows, columns, H, W, C] -> [rows, H, columns, W, C]
  return cells.swapaxes(1, 2).reshape(rows * height, columns * width, channels)


def write_png(path, image):
  """Writes uint8 [H, W, 1 or 3] as a PNG file; the file appears whole or not at all."""
  image = np.asarray(image)
  _require_uint8("image", image, rank=3)
  if image.shape[-1] not in (1, 3):
    raise ValueError(f"image: expected 1 or 3 channels, received {image.shape[-1]}")
  path = pathlib.Path(path)
  # In the same folder, since only within one file system is renaming atomic.
  temporary = path.with_name(f".{path.name}.{os.getpid()}")
  try:
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(temporary, format="PNG")
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def _require_uint8(name, array, rank):
  if array.dtype != np.uint8 or array.ndim != rank or 0 in array.shape:
    raise ValueError(f"{name}: expected uint8 of {rank} dimensions, none of them 0, "
                     f"received {array.dtype} {list(array.shape)}")
