"""Cropping, the network's range, grids and PNG files."""

import os

import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from iddpm_tf.data.images import centre_crop
from iddpm_tf.data.images import to_uint8
from iddpm_tf.data.images import to_unit_range
from iddpm_tf.data.pictures import image_grid
from iddpm_tf.data.pictures import write_png


def noise(*shape):
  return np.random.default_rng(0).integers(0, 256, size=shape, dtype=np.uint8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
@pytest.mark.parametrize("size", [(32, 32), (100, 37), (15, 90), (5, 4)])
def test_any_mode_and_size_becomes_a_square_of_rgb(mode, size):
  cropped = centre_crop(Image.new(mode, size), 16)
  assert cropped.shape == (16, 16, 3) and cropped.dtype == np.uint8


def test_an_image_of_the_size_is_left_alone():
  pixels = noise(16, 16, 3)
  np.testing.assert_array_equal(centre_crop(Image.fromarray(pixels), 16), pixels)


def test_crops_the_middle():
  pixels = noise(16, 21, 3)
  np.testing.assert_array_equal(centre_crop(Image.fromarray(pixels), 16), pixels[:, 2:18])
  pixels = noise(21, 16, 3)
  np.testing.assert_array_equal(centre_crop(Image.fromarray(pixels), 16), pixels[2:18])


def test_halves_with_a_box_filter():
  pixels = noise(64, 64, 3)
  means = pixels.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
  # Two halvings, each along both axes: four roundings by half a level at most.
  np.testing.assert_allclose(centre_crop(Image.fromarray(pixels), 16), means, atol=2)


def test_16_bit_grey_keeps_its_brightness():
  grey = np.full([8, 8], 0x8000, np.uint16)
  np.testing.assert_array_equal(centre_crop(Image.fromarray(grey), 8), 128)


def test_crop_refuses_a_size_of_0():
  with pytest.raises(ValueError, match="^size: expected a positive number of pixels, received 0$"):
    centre_crop(Image.new("RGB", (8, 8)), 0)


def test_every_level_survives_the_unit_range():
  levels = np.arange(256, dtype=np.uint8)
  unit = to_unit_range(levels)
  assert unit.dtype == tf.float32
  np.testing.assert_allclose(unit, levels / 127.5 - 1, atol=1e-7)
  assert unit[0] == -1 and unit[-1] == 1
  np.testing.assert_array_equal(to_uint8(unit), levels)


def test_to_uint8_rounds_to_the_nearest_level_without_bias():
  unit = tf.linspace(-1.0, 1.0, 100_001)
  errors = tf.cast(to_uint8(unit), tf.float32) - (unit + 1) * 127.5
  assert np.abs(errors).max() <= 0.5 + 1e-4
  assert abs(np.mean(errors)) < 1e-3


def test_to_uint8_clips_and_runs_in_a_graph_on_any_float():
  for dtype in (tf.float32, tf.bfloat16, tf.float64):
    result = tf.function(to_uint8)(tf.constant([[-np.inf, -1.5, -1, 0, 1, 3, np.inf]], dtype))
    np.testing.assert_array_equal(result, [[0, 0, 0, 128, 255, 255, 255]])


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
    ValueError, match="^images: expected uint8 of 4 dimensions.* received float64"
  ):
    image_grid(np.zeros([2, 3, 3, 3]), columns=2)
  with pytest.raises(ValueError, match="^columns: expected a number of at least 1, received 0$"):
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
  with pytest.raises(ValueError, match="^image: expected 1 or 3 channels, received 2$"):
    write_png(tmp_path / "x.png", noise(4, 4, 2))
  with pytest.raises(ValueError, match="^image: expected uint8 of 3 dimensions"):
    write_png(tmp_path / "x.png", np.zeros([4, 4, 3], np.float32))
