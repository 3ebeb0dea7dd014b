"""Decoding: four formats, every mode, and a reason for each picture that cannot be read."""

import contextlib
import io
import os
import pathlib
import struct
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
from PIL import Image
import pytest

from iddpm_tf.data import decoding
from iddpm_tf.data.readers.listing import Picture

RGB = decoding.Form(0, "bicubic", 3)
GREY = decoding.Form(0, "bicubic", 1)


def noise(*shape):
  return np.random.default_rng(0).integers(0, 256, size=shape, dtype=np.uint8)


def encoded(image, kind, **options):
  image = image if isinstance(image, Image.Image) else Image.fromarray(image)
  file = io.BytesIO()
  image.save(file, format=kind, **options)
  return file.getvalue()


def decode(content, form=RGB, name="x"):
  return decoding.decode(Picture(name, content, 0), form)


def reason(content, form=RGB):
  with pytest.raises(decoding.UnreadableImage) as caught:
    decode(content, form)
  assert "\n" not in str(caught.value) and " at 0x" not in str(caught.value)
  return str(caught.value)


def png_header(width, height):
  """Returns a PNG whose header says a size, and which has hardly any pixels."""

  def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

  return (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(b"\0" * 100))
    + chunk(b"IEND", b"")
  )


@pytest.mark.parametrize(
  "kind, options",
  [("PNG", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 95, "subsampling": 0})],
)
def test_each_format_comes_back(kind, options):
  pixels = np.kron(noise(2, 3, 3), np.ones([8, 8, 1], np.uint8))
  decoded = decode(encoded(pixels, kind, **options))
  assert decoded[1:5] == (24, 16, "RGB", kind) and decoded.pixels.dtype == np.uint8
  np.testing.assert_allclose(decoded.pixels, pixels, atol=12 if kind == "JPEG" else 0)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_several_is_read(kind):
  frames = [Image.new("RGB", (6, 4), colour) for colour in ((250, 0, 0), (0, 0, 250))]
  data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
  np.testing.assert_allclose(decode(data).pixels, np.broadcast_to([250, 0, 0], [4, 6, 3]), atol=4)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize(
  "form", [RGB, GREY, decoding.Form(3, "area", 1), decoding.Form(3, "bicubic", 3)]
)
def test_every_mode_of_a_png(mode, form):
  decoded = decode(encoded(Image.new(mode, (6, 5)), "PNG"), form)
  size = (form.size, form.size) if form.size else (5, 6)
  assert decoded.pixels.shape == (*size, form.channels) and decoded.pixels.dtype == np.uint8


def test_cmyk_becomes_rgb():
  np.testing.assert_allclose(
    decode(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")).pixels[0, 0],
    [255, 0, 0],
    atol=12,
  )


def test_grey_stays_grey_bit_for_bit():
  pixels = noise(8, 8)
  for content in (encoded(pixels, "PNG"), pixels[..., None]):
    np.testing.assert_array_equal(decode(content, GREY).pixels, pixels[..., None])
    np.testing.assert_array_equal(
      decode(content, decoding.Form(8, "bicubic", 1)).pixels, pixels[..., None]
    )


def test_16_bits_are_not_all_white():
  grey = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
  for form in (RGB, GREY, decoding.Form(8, "area", 3), decoding.Form(8, "bicubic", 1)):
    np.testing.assert_array_equal(decode(encoded(grey, "PNG"), form).pixels[..., 0], grey >> 8)


def test_the_content_decides_the_format_and_not_the_name(tmp_path):
  (tmp_path / "x.JPEG").write_bytes(encoded(noise(4, 4, 3), "PNG"))
  decoded = decode(tmp_path / "x.JPEG", name="x.JPEG")
  assert decoded.format == "PNG" and decoded.named_otherwise
  assert not decode(tmp_path / "x.JPEG", name="x.png").named_otherwise
  assert not decode(tmp_path / "x.JPEG", name="key without ending").named_otherwise


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_half_a_file_is_truncated(kind):
  data = encoded(noise(40, 40, 3), kind)
  assert reason(data[: len(data) // 2]) == "is truncated"


def test_other_files_are_named():
  assert reason(b"") == "is empty"
  assert reason(b"hello, world") == "is not a picture (its content is not PNG, JPEG, WebP or GIF)"
  assert reason(encoded(noise(4, 4, 3), "BMP")) == "is a BMP, not a PNG, JPEG, WebP or GIF"
  assert reason(encoded(noise(4, 4, 3), "TIFF")) == "is a TIFF, not a PNG, JPEG, WebP or GIF"
  assert reason(b"\0\0\0\x1cftypavif") == "is an AVIF or HEIF, not a PNG, JPEG, WebP or GIF"
  data = bytearray(encoded(noise(40, 40, 3), "PNG"))
  data[len(data) // 2] ^= 0xFF
  assert reason(bytes(data)).startswith("cannot be decoded (")


def test_a_missing_file_says_why(tmp_path):
  assert reason(tmp_path / "none.png") == "cannot be opened (No such file or directory)"


def test_a_fifo_is_not_waited_for(tmp_path):
  os.mkfifo(tmp_path / "x.png")
  assert reason(tmp_path / "x.png") == reason(pathlib.Path("/dev/null")) == "is not a regular file"


def test_impossible_sizes_are_refused():
  assert reason(png_header(0, 5)) == "has no pixels"
  start = time.monotonic()
  assert reason(png_header(60_000, 60_000)) == (
    "is too large (60000x60000; at most 134,217,728 pixels are read)"
  )
  assert time.monotonic() - start < 1


def test_nothing_is_written_to_the_error_stream(tmp_path):
  """Pillow would warn of a large picture, and of a palette with transparency in bytes."""
  (tmp_path / "large.png").write_bytes(png_header(10_000, 10_000))
  palette = Image.new("P", (4, 4))
  palette.putpalette(list(range(6)))
  palette.save(tmp_path / "palette.png", transparency=b"\x00\x80")
  code = (
    "import pathlib, sys\nfrom iddpm_tf.data import decoding\n"
    "from iddpm_tf.data.readers.listing import Picture\n"
    "for size in (0, 2):\n  for name in ('large.png', 'palette.png'):\n"
    "    path = pathlib.Path(sys.argv[1], name)\n    try:\n"
    "      decoding.decode(Picture(name, path, 0), decoding.Form(size, 'bicubic', 3))\n"
    "    except decoding.UnreadableImage as error:\n      print(error)\n"
    "assert 'tensorflow' not in sys.modules\n"
  )
  result = subprocess.run(
    [sys.executable, "-W", "always", "-c", code, tmp_path],
    check=False,
    capture_output=True,
    text=True,
  )
  assert result.returncode == 0 and not result.stderr, result.stderr
  assert result.stdout.splitlines() == ["is truncated"] * 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_broken_bytes_are_read_or_refused(kind):
  data = encoded(noise(20, 20, 3), kind)
  rng = np.random.default_rng(0)
  for _ in range(150):
    broken = bytearray(data)
    for position in rng.integers(0, len(data), 3):
      broken[position] = rng.integers(256)
    with contextlib.suppress(decoding.UnreadableImage):
      decode(bytes(broken[: rng.integers(1, len(data) + 1)]), decoding.Form(8, "area", 3))


def test_outcomes_keep_their_order_and_few_pictures_are_in_memory():
  yielded = 0

  def pictures():
    nonlocal yielded
    for i in range(2000):
      yielded += 1
      yield Picture(str(i), b"" if i % 7 == 0 else np.full([2, 2, 3], i % 256, np.uint8), i)

  outcomes = decoding.outcomes(pictures(), RGB, workers=3)
  for i, outcome in enumerate(outcomes):
    assert (outcome.name, outcome.label) == (str(i), i)
    assert (outcome.reason == "is empty") == (i % 7 == 0) == (outcome.decoded is None)
    if outcome.decoded:
      assert np.all(outcome.decoded.pixels == i % 256)
    assert yielded <= i + 1 + 8 * 8
  assert i == 1999


def test_an_error_of_the_source_comes_through():
  def pictures():
    yield Picture("a", np.zeros([2, 2, 3], np.uint8), 0)
    raise ValueError("the disk is gone")

  with pytest.raises(ValueError, match="the disk is gone"):
    list(decoding.outcomes(pictures(), RGB))


def test_an_error_does_not_wait_for_a_stuck_thread(monkeypatch):
  free = threading.Event()
  monkeypatch.setattr(decoding, "decode", lambda *_: free.wait(60))

  def pictures():
    for _ in range(8):
      yield Picture("a", b"", 0)
    raise ValueError("the disk is gone")

  start = time.monotonic()
  try:
    with pytest.raises(ValueError, match="the disk is gone"):
      list(decoding.outcomes(pictures(), RGB, workers=1))
    assert time.monotonic() - start < 30
  finally:
    free.set()
