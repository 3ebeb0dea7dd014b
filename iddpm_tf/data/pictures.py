"""Pictures for people: grids of images, and PNG files."""

import numpy as np
from PIL import Image

from iddpm_tf import settings
from iddpm_tf.data import arrays
from iddpm_tf.utils import files

MIN_CELL = 32  # Pixels: smaller images are magnified in a grid.
GAP = 2  # Pixels between images, and around them.
_GREY = 96


def image_grid(images: np.ndarray, columns: int) -> np.ndarray:
  """Returns a picture of images, row by row.

  Images stand `GAP` pixels apart on grey, and unused cells are black, or transparent where images
  have four channels. Tiny images are magnified by a whole number, pixel by pixel.

  Args:
    images: uint8 [N, H, W, C].
    columns: the number of images per row.

  Returns:
    uint8 [height, width, C].

  Raises:
    InputError: the images are of another type or rank, or there are no columns.
  """
  images = np.asarray(images)
  _require_uint8("images", images, rank=4)
  settings.require(columns >= 1, "columns", "a number of at least 1", columns)
  number, height, width, channels = images.shape
  rows = -(-number // columns)
  cells = np.zeros([rows * columns, height, width, channels], np.uint8)
  cells[:number] = images
  magnification = -(-MIN_CELL // height)
  cells = cells.repeat(magnification, axis=1).repeat(magnification, axis=2)
  height, width = cells.shape[1] + GAP, cells.shape[2] + GAP
  gap = [_GREY] * 3 + [255] if channels == 4 else _GREY
  picture = np.empty([GAP + rows * height, GAP + columns * width, channels], np.uint8)
  picture[:] = gap
  for i, cell in enumerate(cells):
    top, left = GAP + i // columns * height, GAP + i % columns * width
    picture[top : top + height - GAP, left : left + width - GAP] = cell
  return picture


def class_grid(images: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
  """Returns a picture of images with one row per class, if several classes repeat.

  Otherwise the picture is about square.

  Args:
    images: uint8 [N, H, W, C].
    labels: int32 [N], or None if there are no classes.

  Returns:
    uint8 [height, width, C].
  """
  if labels is None or len(np.unique(labels)) in (1, len(labels)):
    return image_grid(images, int(np.ceil(np.sqrt(len(images)))))
  rows = [images[labels == label] for label in np.unique(labels)]
  columns = max(map(len, rows))
  empty = np.zeros_like(images[:1])
  padded = [np.concatenate([row, *[empty] * (columns - len(row))]) for row in rows]
  return image_grid(np.concatenate(padded), columns)


def write_png(path: files.PathLike, image: np.ndarray) -> None:
  """Writes uint8 [H, W, 1, 3 or 4] as a whole PNG file, grey, RGB or RGBA.

  Raises:
    InputError: the image is of another type or shape.
  """
  image = np.asarray(image)
  _require_uint8("image", image, rank=3)
  if image.shape[-1] not in arrays.CHANNELS:
    raise settings.InputError("image", f"expected 1, 3 or 4 channels, received {image.shape[-1]}")
  with files.whole(path) as temporary:
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(temporary, format="PNG")


def _require_uint8(name: str, array: np.ndarray, rank: int) -> None:
  if array.dtype != np.uint8 or array.ndim != rank or 0 in array.shape:
    raise settings.InputError(
      name,
      f"expected uint8 of {rank} dimensions, none of which is 0, "
      f"received {array.dtype} {list(array.shape)}",
    )
