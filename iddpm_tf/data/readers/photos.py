"""Crops of the two photographs that scikit-learn contains: colour images that need no download."""

import numpy as np
from sklearn import datasets

from iddpm_tf import settings

CLASS_NAMES = ("china", "flower")  # A temple, and a dahlia: 427x640 each.


class Crops:
  """Squares of pictures, indexed like an array [N, size, size, 3] and cut when they are asked for.

  Attributes:
    shape: (N, size, size, 3).
    dtype: uint8.
  """

  dtype = np.dtype(np.uint8)

  def __init__(self, pictures: np.ndarray, corners: np.ndarray, size: int):
    """Makes the crops.

    Args:
      pictures: uint8 [P, H, W, 3].
      corners: int [N, 3]: the picture, the top and the left of each crop.
      size: the height and width of the crops.
    """
    self._pictures, self._corners = pictures, corners
    self.shape = (len(corners), size, size, 3)

  def __len__(self) -> int:
    return len(self._corners)

  def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
    """Returns uint8 [B, size, size, 3] for a slice or for int [B]."""
    picture, top, left = self._corners[index].T
    offsets = np.arange(self.shape[1])
    return self._pictures[
      picture[:, None, None],
      (top[:, None] + offsets)[:, :, None],
      (left[:, None] + offsets)[:, None, :],
    ]


def load(image_size: int, split: str) -> tuple[Crops, np.ndarray]:
  """Returns the crops of a split and their labels, in a shuffled order that is always the same.

  A label is the index of the photograph. Training crops stand at every position in the left four
  fifths of each photograph. Test crops are the tiles of the rest. They do not overlap, so that each
  is an independent example.

  Args:
    image_size: the height and width of the crops.
    split: `train` or `test`.

  Returns:
    The crops, and their labels, int32 [N].

  Raises:
    InputError: the size does not fit into the photographs.
  """
  photographs = np.stack(datasets.load_sample_images().images)  # [2, 427, 640, 3]
  _, height, width, _ = photographs.shape
  border = width * 4 // 5
  left, right, stride = (0, border, 1) if split == "train" else (border, width, image_size)
  limit = min(height, right - left)
  if not 1 <= image_size <= limit:
    raise settings.InputError(
      "image_size",
      f"expected 1 to {limit} pixels for the {split} crops of photos, received {image_size}",
    )
  # [2, rows, columns, 3] -> [N, 3]
  corners = np.stack(
    np.meshgrid(
      np.arange(len(photographs)),
      np.arange(0, height - image_size + 1, stride),
      np.arange(left, right - image_size + 1, stride),
      indexing="ij",
    ),
    axis=-1,
  ).reshape(-1, 3)
  corners = np.random.RandomState(0).permutation(corners)
  return Crops(photographs, corners, image_size), corners[:, 0].astype(np.int32)
