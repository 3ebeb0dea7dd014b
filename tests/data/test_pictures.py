"""Grids of images, and PNG files."""

import os

import numpy as np
from PIL import Image
import pytest

from iddpm_tf import settings
from iddpm_tf.data.pictures import image_grid
from iddpm_tf.data.pictures import write_png


def noise(*shape):
  return np.random.default_rng(0).integers(0, 256, size=shape, dtype=np.uint8)


def test_grid_is_filled_row_by_row_and_ends_black():
  images = noise(5, 3, 4, 3)
  grid = image_grid(images, columns=2)
  # 3x4 magnified 11 times, two pixels between: cells of 35 x 46.
  assert grid.shape == (2 + 3 * 35, 2 + 2 * 46, 3) and grid.dtype == np.uint8
  for index, image in enumerate(images):
    row, column = divmod(index, 2)
    cell = grid[2 + 35 * row : 35 * (row + 1), 2 + 46 * column : 46 * (column + 1)]
    np.testing.assert_array_equal(cell[::11, ::11], image)
    np.testing.assert_array_equal(cell[10::11, 10::11], image)
  assert not grid[72:105, 48:92].any() and np.all(grid[:2] == 96) and np.all(grid[:, 46:48] == 96)


def test_images_of_32_pixels_are_not_magnified():
  images = noise(2, 32, 32, 1)
  np.testing.assert_array_equal(image_grid(images, columns=2)[2:34, 36:68], images[1])


def test_grid_refuses_floats_and_no_columns():
  with pytest.raises(
    settings.InputError, match=r"^images: expected uint8 of 4 dimensions.* received float64"
  ):
    image_grid(np.zeros([2, 3, 3, 3]), columns=2)
  with pytest.raises(
    settings.InputError, match=r"^columns: expected a number of at least 1, received 0$"
  ):
    image_grid(noise(2, 3, 3, 3), columns=0)


@pytest.mark.parametrize("channels, mode", [(1, "L"), (3, "RGB")])
def test_png_holds_the_image_and_leaves_nothing_else(tmp_path, channels, mode):
  image = noise(6, 5, channels)
  for _ in range(2):  # The second time over the first file.
    write_png(tmp_path / "grid.png", image)
  with Image.open(tmp_path / "grid.png") as read:
    assert read.format == "PNG" and read.mode == mode
    np.testing.assert_array_equal(np.asarray(read).reshape(image.shape), image)
  assert os.listdir(tmp_path) == ["grid.png"]


def test_a_failed_png_leaves_the_old_one(tmp_path, monkeypatch):
  write_png(str(tmp_path / "grid.png"), noise(6, 5, 3))
  before = (tmp_path / "grid.png").read_bytes()

  def save_half(self, path, format):
    path.write_bytes(b"half")
    raise OSError("disk full")

  monkeypatch.setattr(Image.Image, "save", save_half)
  with pytest.raises(OSError, match="disk full"):
    write_png(tmp_path / "grid.png", noise(7, 5, 3))
  assert (tmp_path / "grid.png").read_bytes() == before
  assert os.listdir(tmp_path) == ["grid.png"]


def test_png_refuses_other_channels_and_types(tmp_path):
  with pytest.raises(
    settings.InputError, match=r"^image: expected 1, 3 or 4 channels, received 2$"
  ):
    write_png(tmp_path / "x.png", noise(4, 4, 2))
  with pytest.raises(settings.InputError, match=r"^image: expected uint8 of 3 dimensions"):
    write_png(tmp_path / "x.png", np.zeros([4, 4, 3], np.float32))
