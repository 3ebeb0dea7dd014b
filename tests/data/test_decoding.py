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


def chunk(kind, data):
  return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width, height):
  """Returns a PNG whose header says a size, and which has hardly any pixels."""
  return (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(b"\0" * 100))
    + chunk(b"IEND", b"")
  )


@pytest.mark.parametrize(
  "kind, options",
  [
    ("PNG", {}),
    ("BMP", {}),
    ("WEBP", {"lossless": True}),
    ("JPEG", {"quality": 95, "subsampling": 0}),
  ],
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


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_half_a_file_is_truncated(kind):
  data = encoded(noise(40, 40, 3), kind)
  assert reason(data[: len(data) // 2]) == "is truncated"


def test_other_files_are_named():
  assert reason(b"") == "is empty"
  assert (
    reason(b"hello, world") == "is not a picture (its content is not PNG, JPEG, WebP, GIF or BMP)"
  )
  assert reason(encoded(noise(4, 4, 3), "TIFF")) == "is a TIFF, not a PNG, JPEG, WebP, GIF or BMP"
  assert reason(b"\0\0\0\x1cftypavif") == "is an AVIF or HEIF, not a PNG, JPEG, WebP, GIF or BMP"
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


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
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


# A picture without any symmetry, whose corners tell how it was turned.
CORNERS = np.uint8([[10, 20, 30], [40, 50, 60]])[..., None].repeat(3, axis=-1)


def with_orientation(orientation, kind="PNG", **options):
  """Returns the bytes of CORNERS, stored as a camera would that was held in this orientation."""
  stored = {
    1: CORNERS,
    2: CORNERS[:, ::-1],
    3: CORNERS[::-1, ::-1],
    4: CORNERS[::-1],
    5: CORNERS.swapaxes(0, 1),
    6: np.rot90(CORNERS),
    7: np.rot90(CORNERS.swapaxes(0, 1), 2),
    8: np.rot90(CORNERS, -1),
  }[orientation]
  exif = Image.Exif()
  exif[0x0112] = orientation
  return encoded(np.ascontiguousarray(stored), kind, exif=exif, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind, options", [("PNG", {}), ("WEBP", {"lossless": True})])
def test_pictures_are_turned_upright(orientation, kind, options):
  decoded = decode(with_orientation(orientation, kind, **options))
  np.testing.assert_array_equal(decoded.pixels, CORNERS)
  assert decoded.orientation == orientation and (decoded.height, decoded.width) == (2, 3)


def test_a_jpeg_of_a_phone_is_turned_upright():
  decoded = decode(with_orientation(6, "JPEG", quality=100, subsampling=0))
  np.testing.assert_allclose(decoded.pixels, CORNERS, atol=3)


def test_orientation_is_ignored_as_in_the_authors_code_where_it_should_be():
  decoded = decode(with_orientation(6), RGB._replace(exif_orientation=False))
  np.testing.assert_array_equal(decoded.pixels, np.rot90(CORNERS))
  assert decoded.orientation == 6


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0", b"Exif\0\0garbage", b"\xff" * 40])
def test_a_broken_exif_leaves_the_picture_as_it_is(exif):
  for kind in ("PNG", "JPEG", "WEBP"):
    decoded = decode(encoded(np.full([2, 3, 3], 90, np.uint8), kind, exif=exif))
    assert decoded.orientation == 1 and decoded.pixels.shape == (2, 3, 3)


def transparent_pictures():
  """Returns pictures of one content: opaque blue to the left, hidden red to the right."""
  rgba = np.zeros([8, 8, 4], np.uint8)
  rgba[:, :4] = 0, 0, 200, 255
  rgba[:, 4:] = np.random.default_rng(0).integers(100, 256, (8, 4, 4))
  rgba[:, 4:, 3] = 0
  palette = Image.fromarray(np.repeat(np.uint8([[0] * 4 + [1] * 4]), 8, axis=0), "P")
  palette.putpalette([0, 0, 200, 255, 0, 0])
  return {
    "RGBA": encoded(rgba, "PNG"),
    "WebP": encoded(rgba, "WEBP", lossless=True, exact=True),
    "palette with one transparent colour": encoded(palette, "PNG", transparency=1),
    "palette with alpha": encoded(palette, "PNG", transparency=b"\xff\0"),
    "GIF": encoded(palette, "GIF", transparency=1),
    "one transparent colour": encoded(
      np.where(rgba[..., 3:] == 0, np.uint8([255, 0, 0]), rgba[..., :3]),
      "PNG",
      transparency=(255, 0, 0),
    ),
  }


@pytest.mark.parametrize("name", transparent_pictures())
@pytest.mark.parametrize("size", [0, 8, 4, 2])
@pytest.mark.parametrize("resize", ["bicubic", "area"])
def test_transparent_pictures_are_laid_over_the_background_by_every_way_of_resizing(
  name, size, resize
):
  content = transparent_pictures()[name]
  for background in ((255, 255, 255), (0, 0, 0), (10, 200, 30)):
    form = decoding.Form(size, resize, 3, background=background)
    decoded = decode(content, form)
    assert decoded.is_transparent
    half = decoded.pixels.shape[1] // 2
    # Bicubic interpolation overshoots at the edge, equally on both sides of it.
    laid = np.zeros([8, 8, 3], np.uint8)
    laid[:, :4], laid[:, 4:] = (0, 0, 200), background
    np.testing.assert_array_equal(decoded.pixels, decode(encoded(laid, "PNG"), form).pixels)
    np.testing.assert_allclose(
      decoded.pixels[:, half:][:, -1], [background] * len(decoded.pixels), atol=8
    )


def test_half_transparent_pixels_mix_with_the_background():
  for mode, colour in (("RGBA", (100, 100, 100, 128)), ("LA", (100, 128))):
    content = encoded(Image.new(mode, (4, 4), colour), "PNG")
    for size, resize in ((0, "area"), (2, "area"), (2, "bicubic"), (6, "bicubic")):
      pixels = decode(content, decoding.Form(size, resize, 3)).pixels
      np.testing.assert_allclose(pixels, 100 * 128 / 255 + 255 * 127 / 255, atol=1)
      grey = decode(content, decoding.Form(size, resize, 1, background=(0, 0, 0))).pixels
      np.testing.assert_allclose(grey, 100 * 128 / 255, atol=1)


@pytest.mark.parametrize("size, resize", [(0, "area"), (2, "area"), (2, "bicubic")])
def test_four_channels_keep_transparency_and_no_hidden_colours(size, resize):
  form = decoding.Form(size, resize, 4, background=(9, 8, 7))
  for name in ("RGBA", "WebP", "palette with alpha"):
    pixels = decode(transparent_pictures()[name], form).pixels
    half = pixels.shape[1] // 2
    np.testing.assert_array_equal(pixels[:, 0], np.tile([0, 0, 200, 255], (len(pixels), 1)))
    np.testing.assert_array_equal(pixels[:, half:], np.tile([9, 8, 7, 0], (len(pixels), half, 1)))
  np.testing.assert_array_equal(
    decode(encoded(CORNERS, "PNG"), form._replace(size=0)).pixels[..., 3], 255
  )


@pytest.mark.parametrize("resize", ["area", "bicubic"])
def test_colours_are_resized_with_premultiplied_alpha(resize):
  """A transparent red neighbour takes nothing from an opaque blue pixel but its opacity."""
  rgba = np.zeros([2, 2, 4], np.uint8)
  rgba[:, 0], rgba[:, 1] = (0, 0, 200, 255), (255, 0, 0, 0)
  pixel = decode(encoded(rgba, "PNG"), decoding.Form(1, resize, 4)).pixels[0, 0]
  np.testing.assert_allclose(pixel, [0, 0, 200, 128], atol=1)


def test_transparency_is_ignored_as_in_the_authors_code_where_it_should_be():
  content = transparent_pictures()["RGBA"]
  with Image.open(io.BytesIO(content)) as image:
    plain = np.asarray(image.convert("RGB"))
  decoded = decode(content, RGB._replace(background=None))
  np.testing.assert_array_equal(decoded.pixels, plain)
  assert decoded.is_transparent


def test_an_opaque_alpha_changes_nothing():
  pixels = noise(9, 9, 3)
  opaque = np.concatenate([pixels, np.full([9, 9, 1], 255, np.uint8)], axis=-1)
  for form in (RGB, decoding.Form(4, "area", 3), decoding.Form(4, "bicubic", 3)):
    decoded = decode(encoded(opaque, "PNG"), form)
    np.testing.assert_array_equal(decoded.pixels, decode(encoded(pixels, "PNG"), form).pixels)
    assert not decoded.is_transparent


def test_one_transparent_value_of_16_bits():
  values = np.full([2, 4], 0x4000, np.uint16)
  values[:, 2:] = 0x8001
  decoded = decode(encoded(values, "PNG", transparency=0x8001))
  np.testing.assert_array_equal(decoded.pixels[0, :, 0], [0x40, 0x40, 255, 255])
  assert decoded.is_transparent


def test_16_bits_are_scaled_by_the_value_that_is_to_be_white():
  values = np.uint16([[0, 1000, 2048, 4095]])
  decoded = decode(encoded(values, "PNG"), GREY._replace(max_value=4095))
  assert decoded.pixels.ravel().tolist() == [0, 62, 128, 255]
  assert (decoded.bits, decoded.least, decoded.greatest) == (16, 0, 4095)
  assert decode(encoded(values, "PNG"), GREY._replace(max_value=1000)).pixels.max() == 255
  assert decode(encoded(values, "PNG"), GREY).pixels.ravel().tolist() == [0, 3, 8, 15]


def png_of_16_bits(values):
  """Returns a PNG of colours of 16 bits, uint16 [H, W, 3], which Pillow does not write."""
  height, width, _ = values.shape
  rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
  return (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(rows))
    + chunk(b"IEND", b"")
  )


def test_colours_of_16_bits_are_read_by_their_upper_8_and_counted():
  decoded = decode(png_of_16_bits(np.uint16([[[0x1234, 0x0FFF, 0]]])))
  assert decoded.pixels.tolist() == [[[0x12, 0x0F, 0]]]
  assert (decoded.bits, decoded.least, decoded.greatest) == (16, 0, 0x12FF)


@pytest.mark.parametrize(
  "image, expected",
  [
    (Image.new("RGB", (4, 4), (5, 5, 5)), True),
    (Image.new("RGB", (4, 4), (5, 5, 6)), False),
    (Image.new("L", (4, 4), 7), True),
    (Image.new("1", (4, 4), 1), True),
    (Image.new("LA", (4, 4), (7, 50)), True),
    (Image.new("I;16", (4, 4), 777), True),
    (Image.new("P", (4, 4)), True),
  ],
)
def test_grey_is_what_has_equal_red_green_and_blue(image, expected):
  content = encoded(image, "PNG")
  assert decode(content).is_grey == expected
  assert decoding.any_colour([Picture("x", b"", 0), Picture("y", content, 0)], RGB) != expected


def test_a_coloured_background_gives_colour_to_grey_pictures():
  content = encoded(Image.new("LA", (4, 4), (7, 50)), "PNG")
  assert decoding.any_colour([Picture("x", content, 0)], RGB._replace(background=(255, 0, 0)))


def test_threads_decode_few_pixels_at_a_time(monkeypatch):
  """Pictures of 24 megapixels on 16 processors would take gigabytes."""
  together, most, lock = 0, 0, threading.Lock()
  decoded = decoding._decoded

  def count(picture, image, *arguments):
    nonlocal together, most
    with lock:
      together += image.width * image.height
      most = max(most, together)
    time.sleep(0.005)
    with lock:
      together -= image.width * image.height
    return decoded(picture, image, *arguments)

  monkeypatch.setattr(decoding, "_decoded", count)
  monkeypatch.setattr(decoding, "_BUDGET", decoding._Budget(250))
  contents = [encoded(noise(10, 10, 3), "PNG"), encoded(noise(20, 20, 3), "PNG")]
  pictures = [Picture(str(i), contents[i % 10 == 0], 0) for i in range(100)]
  outcomes = list(decoding.outcomes(pictures, RGB, workers=8))
  assert [outcome.name for outcome in outcomes] == [str(i) for i in range(100)]
  # Two of 100 pixels at a time, or one of 400.
  assert most == 400 and all(outcome.decoded for outcome in outcomes)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_large_pictures_can_be_reduced_after_they_were_counted(channels):
  picture = Picture("x", encoded(np.full([30, 200, 3], 7, np.uint8), "PNG"), 0)
  form = RGB._replace(channels=channels)
  (outcome,) = decoding.outcomes([picture], form, largest=50)
  assert outcome.decoded.pixels.shape == (8, 50, channels)
  assert (outcome.decoded.height, outcome.decoded.width) == (30, 200)
  np.testing.assert_array_equal(outcome.decoded.pixels[..., 0], 7)
  (outcome,) = decoding.outcomes([picture], form, largest=200)
  assert outcome.decoded.pixels.shape == (30, 200, channels)
