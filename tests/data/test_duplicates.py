"""Near-duplicates: copies of other sizes and qualities, and pictures that are no copies."""

import io

import numpy as np
from PIL import Image
import pytest

from iddpm_tf.data import duplicates


def scene(seed, size=64):
  """Returns a picture with large and small structures."""
  rng = np.random.default_rng(seed)
  coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
  return coarse.resize((size, size), Image.Resampling.BICUBIC)


def pairs_of(**pictures):
  found = duplicates.NearDuplicates()
  for name, picture in pictures.items():
    pixels = np.asarray(picture)
    found.add(name, pixels[..., None] if pixels.ndim == 2 else pixels)
  return found.pairs


def as_jpeg(picture, quality):
  file = io.BytesIO()
  picture.save(file, format="JPEG", quality=quality)
  return Image.open(file).convert("RGB")


@pytest.mark.parametrize("seed", range(20))
def test_copies_of_other_sizes_qualities_and_brightness_are_found(seed):
  picture = scene(seed)
  brighter = Image.fromarray(np.minimum(np.asarray(picture), 254) + np.uint8(1))
  for copy in (picture, as_jpeg(picture, 80), picture.resize((160, 160)), brighter):
    assert pairs_of(first=picture, other=scene(seed + 1000), copy=copy) == [("copy", "first")]


def test_other_pictures_are_no_copies():
  pictures = {str(i): scene(i) for i in range(300)}
  assert pairs_of(**pictures) == []
  mirrored = scene(0).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
  assert pairs_of(first=scene(0), mirrored=mirrored) == []


def test_colour_and_brightness_tell_flat_pictures_apart():
  flat = [Image.new("RGB", (8, 8), colour) for colour in ((200, 0, 0), (0, 0, 200), (99, 99, 99))]
  assert pairs_of(red=flat[0], blue=flat[1], grey=flat[2]) == []
  assert pairs_of(red=flat[0], again=flat[0], grey=Image.new("L", (8, 8), 99)) == [("again", "red")]


def test_thousands_of_flat_pictures_take_little_time():
  found = duplicates.NearDuplicates()
  for i in range(3000):
    found.add(str(i), np.full([8, 8, 1], i % 7 * 30, np.uint8))
  assert len(found.pairs) == 3000 - 7
