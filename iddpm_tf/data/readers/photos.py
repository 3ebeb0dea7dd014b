"""Crops of the two photographs that scikit-learn bundles: colour and 256 real levels with no download."""

import numpy as np
from sklearn import datasets

from iddpm_tf import settings

CLASS_NAMES = ("china", "flower")  # A temple, and a dahlia: 427x640 each.


class Crops:
  """Squares of pictures, indexed like an array [N, size, size, 3] but cut only when asked for."""

  dtype = np.dtype(np.uint8)

  def __init__(self, pictures, corners, size):
    """Of uint8 `pictures` [P, H, W, 3] and `corners` int [N, 3]: picture, top, left."""
    self._pictures, self._corners = pictures, corners
    self.shape = (len(corners), size, size, 3)

  def __len__(self):
    return len(self._corners)

  def __getitem__(self, index):
    """uint8 [B, size, size, 3] of a slice or of int [B]."""
    picture, top, left = self._corners[index].T
    along = np.arange(self.shape[1])
    return self._pictures[
      picture[:, None, None],
      (top[:, None] + along)[:, :, None],
      (left[:, None] + along)[:, None, :],
    ]


def load(image_size, split):
  """`Crops`, their labels int32 [N] and the classes' names, in an order that was shuffled once and for all.

  A label is the photograph. Training crops stand at every position in the left four fifths of each; test
  crops are the tiles of the rest: they do not overlap, so that each is an example of its own.

  Raises:
    ValueError: no size, or one that does not fit.
  """
  photographs = np.stack(datasets.load_sample_images().images)  # [2, 427, 640, 3]
  _, height, width, _ = photographs.shape
  border = width * 4 // 5
  left, right, stride = (0, border, 1) if split == "train" else (border, width, image_size)
  limit = min(height, right - left)
  if not 1 <= image_size <= limit:
    raise settings.InputError(
      "image_size",
      f"expected 1 to {limit} pixels, the {split} crops of photos, received {image_size}",
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
  return Crops(photographs, corners, image_size), corners[:, 0].astype(np.int32), CLASS_NAMES
