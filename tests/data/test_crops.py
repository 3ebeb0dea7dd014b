"""The authors' crop, the crop by areas, and pictures of 16 bits. (See tests/parity, too.)"""

import numpy as np
from PIL import Image
import pytest

from iddpm_tf import settings
from iddpm_tf.data import crops
from iddpm_tf.data.crops import area_crop
from iddpm_tf.data.crops import centre_crop

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I")


def noise(*shape):
  return np.random.default_rng(0).integers(0, 256, size=shape, dtype=np.uint8)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(32, 32), (100, 37), (15, 90), (5, 4)])
def test_any_mode_and_size_becomes_a_square_of_rgb(mode, size):
  for crop in (area_crop, centre_crop):
    cropped = crop(Image.new(mode, size), 16)
    assert cropped.shape == (16, 16, 3) and cropped.dtype == np.uint8


def test_the_authors_crop_keeps_an_image_of_the_size():
  pixels = noise(16, 16, 3)
  np.testing.assert_array_equal(centre_crop(Image.fromarray(pixels), 16), pixels)


def test_the_authors_crop_takes_the_middle():
  pixels = noise(16, 21, 3)
  np.testing.assert_array_equal(centre_crop(Image.fromarray(pixels), 16), pixels[:, 2:18])
  pixels = noise(21, 16, 3)
  np.testing.assert_array_equal(centre_crop(Image.fromarray(pixels), 16), pixels[2:18])


def test_the_authors_crop_halves_with_a_box_filter():
  pixels = noise(64, 64, 3)
  means = pixels.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
  # Two halvings, each along both axes: four roundings by half a level at most.
  np.testing.assert_allclose(centre_crop(Image.fromarray(pixels), 16), means, atol=2)


@pytest.mark.parametrize("factor", [1, 2, 3, 6, 8])
def test_area_is_the_mean_of_the_middle_square_rounded_once(factor):
  side = 8 * factor
  for shape, square in (
    ((side, side + 11, 3), np.s_[:, 5 : 5 + side]),
    ((side + 10, side, 3), np.s_[5 : 5 + side]),
  ):
    pixels = noise(*shape)
    means = pixels[square].reshape(8, factor, 8, factor, 3).mean(axis=(1, 3))
    np.testing.assert_array_equal(area_crop(Image.fromarray(pixels), 8), np.floor(means + 0.5))


def test_area_weighs_pixels_by_their_share():
  """From 3 pixels to 2: each new pixel is a whole pixel and half of the middle one."""
  row = np.array([0, 90, 255], np.uint8)
  (left, right), _ = area_crop(Image.fromarray(np.tile(row, (3, 1))), 2)[..., 0]
  assert (left, right) == (30, 200)


def test_area_averages_a_palette_s_colours():
  image = Image.fromarray(np.array([[0, 1], [0, 1]], np.uint8)).convert("P")
  image.putpalette([200, 0, 0, 0, 0, 100])
  np.testing.assert_array_equal(area_crop(image, 1)[0, 0], [100, 0, 50])


@pytest.mark.parametrize("crop", [area_crop, centre_crop])
@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_16_bits_keep_their_brightness(crop, dtype):
  """Mode I;16, and mode I, in which older versions of Pillow read a PNG of 16 bits."""
  np.testing.assert_array_equal(crop(Image.fromarray(np.full([8, 8], 0x8000, dtype)), 4), 128)


@pytest.mark.parametrize("crop", [area_crop, centre_crop])
def test_refuses_a_size_of_0(crop):
  with pytest.raises(settings.InputError, match=r"^size: expected a positive number"):
    crop(Image.new("RGB", (8, 8)), 0)


def test_area_enlarges_by_repeating_pixels():
  pixels = noise(3, 3, 3)
  np.testing.assert_array_equal(
    area_crop(Image.fromarray(pixels), 6), pixels.repeat(2, axis=0).repeat(2, axis=1)
  )
  row = Image.fromarray(np.tile(np.array([0, 90], np.uint8), (2, 1)))
  np.testing.assert_array_equal(area_crop(row, 3)[0, :, 0], [0, 45, 90])


@pytest.mark.parametrize("size", [(60_000, 2), (2, 60_000), (60_000, 300), (300_000, 1)])
def test_a_very_long_picture_is_cropped_before_it_is_enlarged(size, monkeypatch):
  """60,000 x 2 at a height of 256 would be 7,680,000 pixels wide: 8 GB."""
  resized, resize = [], Image.Image.resize

  def record(self, new_size, *arguments, **keywords):
    resized.append(new_size[0] * new_size[1])
    return resize(self, new_size, *arguments, **keywords)

  monkeypatch.setattr(Image.Image, "resize", record)
  image = Image.fromarray(np.full([size[1], size[0], 3], 90, np.uint8))
  for crop in (centre_crop, area_crop):
    np.testing.assert_array_equal(crop(image, 256), np.full([256, 256, 3], 90))
  assert resized and max(resized) <= 2**24


@pytest.mark.parametrize("shape", [(2, 90), (90, 3), (5, 61), (30, 31)])
@pytest.mark.parametrize("size", [7, 20])
def test_cropping_first_leaves_the_middle_as_it_was(shape, size, monkeypatch):
  image = Image.fromarray(noise(*shape, 3) // 2 + 64)  # Pillow clips what overshoots in between.
  whole = centre_crop(image, size)
  monkeypatch.setattr(crops, "_MAX_RESIZED", 0)
  monkeypatch.setattr(crops, "_LONG", 0)
  np.testing.assert_allclose(centre_crop(image, size).astype(int), whole, atol=1)
