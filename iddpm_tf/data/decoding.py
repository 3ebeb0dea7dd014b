"""Pictures of files to arrays of one shape: the only place that decodes."""

import collections
import concurrent.futures
import io
import itertools
import os
import pathlib
import re
import stat
from typing import NamedTuple

import numpy as np
from PIL import GifImagePlugin
from PIL import Image
from PIL import JpegImagePlugin
from PIL import PngImagePlugin
from PIL import WebPImagePlugin

from iddpm_tf import settings
from iddpm_tf.data import crops
from iddpm_tf.data.readers import listing

MAX_PIXELS = (
  2**27
)  # 134 million. A larger picture is no training image but an attack, or a mistake.
_CHUNK = 8  # Pictures a task: a task costs as much as a tiny picture.
# Not Image.open: it warns of large pictures on the error stream, and then reads them.
_READERS = {
  "PNG": PngImagePlugin.PngImageFile,
  "JPEG": JpegImagePlugin.JpegImageFile,
  "WEBP": WebPImagePlugin.WebPImageFile,
  "GIF": GifImagePlugin.GifImageFile,
}
_FORMAT_OF = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".gif": "GIF"}
_BEGINNINGS = {
  b"\x89PNG\r\n\x1a\n": "PNG",
  b"\xff\xd8\xff": "JPEG",
  b"GIF87a": "GIF",
  b"GIF89a": "GIF",
}
_OTHERS = {
  b"BM": "a BMP",
  b"II*\0": "a TIFF",
  b"MM\0*": "a TIFF",
  b"8BPS": "a PSD",
  b"%PDF": "a PDF",
}
_ENDS = {"PNG": b"IEND\xaeB`\x82", "JPEG": b"\xff\xd9", "GIF": b";"}


class UnreadableImage(ValueError):
  """A picture that cannot be read; the message is the reason, after "it "."""


class Form(NamedTuple):
  """What pictures become."""

  size: int  # Height and width; 0: as they are.
  resize: str  # bicubic or area, as `config.DataConfig.resize`.
  channels: int  # 1: grey, 3: RGB.


class Decoded(NamedTuple):
  pixels: np.ndarray  # uint8 [H, W, C], in the form that was asked for.
  width: int  # Of the picture itself, as its height and mode (Pillow's).
  height: int
  mode: str
  format: str  # PNG, JPEG, WEBP, GIF, or array.
  named_otherwise: bool  # Its name says another format.


class Outcome(NamedTuple):
  """What became of one picture."""

  name: str
  label: int
  decoded: Decoded | None
  reason: str  # Why there is none.


def decode(picture, form):
  """`Decoded` of a `Picture`; the first frame of several, and not turned by its EXIF data, as the authors do.

  Raises:
    UnreadableImage: with the reason.
  """
  content = picture.content
  if isinstance(content, np.ndarray):
    image, kind = Image.fromarray(content[..., 0] if content.shape[-1] == 1 else content), "array"
  else:
    data = _read(content) if isinstance(content, pathlib.Path) else content
    kind = _format(data)
    image = _open(data, kind)
  width, height, mode = *image.size, image.mode
  # Pillow warns of palettes with transparency on the way to RGB, and comes to the same pixels without.
  image.info.pop("transparency", None)
  if mode == "F":
    raise UnreadableImage("has pixels in floating point")
  named = _FORMAT_OF.get(os.path.splitext(picture.name)[1].lower(), kind)
  return Decoded(_formed(image, form), width, height, mode, kind, named != kind)


def outcomes(pictures, form, workers=None):
  """Yields the `Outcome` of each of `pictures`, in order, from threads; few are in memory at a time."""

  def of_chunk(chunk):
    return [_outcome(picture, form) for picture in chunk]

  workers = workers or os.cpu_count() or 1
  pictures, running = iter(pictures), collections.deque()
  executor = concurrent.futures.ThreadPoolExecutor(workers)
  try:
    while chunk := list(itertools.islice(pictures, _CHUNK)):
      running.append(executor.submit(of_chunk, chunk))
      if len(running) > 2 * workers:
        yield from running.popleft().result()
    while running:
      yield from running.popleft().result()
  except BaseException:
    executor.shutdown(wait=False, cancel_futures=True)  # A thread may hang on a dead disk.
    raise
  executor.shutdown()


def require_same_shape(outcome, shape, first):
  """`ValueError` unless a decoded outcome has the shape of the `first` name's."""
  if outcome.decoded.pixels.shape != shape:
    (height, width, _), (first_height, first_width, _) = outcome.decoded.pixels.shape, shape
    raise settings.InputError(
      "image_size",
      f"expected a size to bring the pictures to, since they are of several: {first_height}x"
      f"{first_width} ({listing.printable(first)}), {height}x{width} ({listing.printable(outcome.name)})",
    )


def _outcome(picture, form):
  try:
    return Outcome(picture.name, picture.label, decode(picture, form), "")
  except UnreadableImage as error:
    return Outcome(picture.name, picture.label, None, str(error))


def _read(path):
  try:
    if not stat.S_ISREG(path.stat().st_mode):
      raise UnreadableImage("is no regular file")  # To read a FIFO would wait for ever.
    return path.read_bytes()
  except OSError as error:
    raise UnreadableImage(f"cannot be opened ({error.strerror})") from None


def _format(data):
  """The format of a file's bytes, whatever its name."""
  if not data:
    raise UnreadableImage("is empty")
  for beginning, kind in _BEGINNINGS.items():
    if data.startswith(beginning):
      return kind
  if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
    return "WEBP"
  other = next((kind for beginning, kind in _OTHERS.items() if data.startswith(beginning)), None)
  if data[4:8] == b"ftyp":
    other = "an AVIF or HEIF"
  raise UnreadableImage(
    f"is {other}, not a PNG, JPEG, WebP or GIF"
    if other
    else "is no picture (its content is not PNG, JPEG, WebP or GIF)"
  )


def _open(data, kind):
  try:
    image = _READERS[kind](io.BytesIO(data))
    if image.width * image.height > MAX_PIXELS:
      raise UnreadableImage(
        f"is too large ({image.width}x{image.height}; at most {MAX_PIXELS:,} pixels are read)"
      )
    image.load()
    return image
  except UnreadableImage:
    raise
  # Of any kind: decoders of foreign bytes raise whatever they stumble over.
  except Exception as error:  # pylint: disable=broad-exception-caught
    raise UnreadableImage(_reason(data, kind, error)) from None


def _reason(data, kind, error):
  if kind == "WEBP":
    truncated = len(data) < 8 + int.from_bytes(data[4:8], "little")
  else:
    truncated = _ENDS[kind] not in data[-64:]  # Some writers pad.
  if truncated or "truncated" in str(error):
    return "is truncated"
  if "not identified" in str(error):
    return "has no pixels"
  # Without addresses of objects, which differ each time.
  return f"cannot be decoded ({re.sub(r' ?<[^>]*>', '', str(error)) or type(error).__name__})"


def _formed(image, form):
  if form.channels == 1:
    image = crops.eight_bits(image).convert("L")
  if not form.size:
    pixels = np.asarray(crops.eight_bits(image).convert("L" if form.channels == 1 else "RGB"))
  else:
    pixels = (crops.centre_crop if form.resize == "bicubic" else crops.area_crop)(image, form.size)
  # [H, W] or [H, W, 3] -> [H, W, C]
  return pixels.reshape(*pixels.shape[:2], -1)[..., : form.channels]
