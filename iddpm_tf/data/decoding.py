"""Decoding of pictures to arrays of one form. No other module decodes."""

import collections
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
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

# 134 million. A larger picture is no training image but an attack, or a mistake.
MAX_PIXELS = 2**27
# Pictures per task: starting a task takes as long as decoding a tiny picture.
_CHUNK = 8
# Image.open is not used: it warns of large pictures on the error stream, and then reads them.
_READERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
  "PNG": PngImagePlugin.PngImageFile,
  "JPEG": JpegImagePlugin.JpegImageFile,
  "WEBP": WebPImagePlugin.WebPImageFile,
  "GIF": GifImagePlugin.GifImageFile,
}
_EXTENSIONS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".gif": "GIF"}
# The first bytes of files.
_SIGNATURES = {
  b"\x89PNG\r\n\x1a\n": "PNG",
  b"\xff\xd8\xff": "JPEG",
  b"GIF87a": "GIF",
  b"GIF89a": "GIF",
}
_UNSUPPORTED_SIGNATURES = {
  b"BM": "a BMP",
  b"II*\0": "a TIFF",
  b"MM\0*": "a TIFF",
  b"8BPS": "a PSD",
  b"%PDF": "a PDF",
}
# The last bytes of files.
_TRAILERS = {"PNG": b"IEND\xaeB`\x82", "JPEG": b"\xff\xd9", "GIF": b";"}


class UnreadableImage(ValueError):
  """A picture that cannot be read. The message is the reason, and continues "The picture "."""


class Form(NamedTuple):
  """The form that pictures are brought to.

  Attributes:
    size: the height and width; 0 keeps those of each picture.
    resize: `bicubic` or `area`, as in `config.DataConfig`.
    channels: 1 for grey, 3 for RGB.
  """

  size: int
  resize: str
  channels: int


class Decoded(NamedTuple):
  """A decoded picture.

  Attributes:
    pixels: uint8 [H, W, C], in the form that was asked for.
    width: the width of the picture before it was resized.
    height: its height.
    mode: Pillow's name of its mode.
    format: PNG, JPEG, WEBP, GIF, or array.
    named_otherwise: whether the file's name says another format.
  """

  pixels: np.ndarray
  width: int
  height: int
  mode: str
  format: str
  named_otherwise: bool


class Outcome(NamedTuple):
  """The result of decoding one picture.

  Attributes:
    name: the picture's name.
    label: its label.
    decoded: the picture, or None if it cannot be read.
    reason: why it cannot be read.
  """

  name: str
  label: int
  decoded: Decoded | None
  reason: str


def decode(picture: listing.Picture, form: Form) -> Decoded:
  """Decodes a picture and brings it to a form.

  As in the authors' code, the first of several frames is taken, and EXIF orientation is ignored.

  Raises:
    UnreadableImage: the picture cannot be read.
  """
  content = picture.content
  if isinstance(content, np.ndarray):
    image = Image.fromarray(content[..., 0] if content.shape[-1] == 1 else content)
    file_format = "array"
  else:
    data = _read(content) if isinstance(content, pathlib.Path) else content
    file_format = _format(data)
    image = _open(data, file_format)
  width, height, mode = *image.size, image.mode
  # Pillow warns of palettes with transparency when it converts them to RGB. The pixels are the same
  # without the transparency.
  image.info.pop("transparency", None)
  if mode == "F":
    raise UnreadableImage("has pixels in floating point")
  named_format = _EXTENSIONS.get(os.path.splitext(picture.name)[1].lower(), file_format)
  pixels = _pixels(image, form)
  return Decoded(pixels, width, height, mode, file_format, named_format != file_format)


def outcomes(
  pictures: Iterable[listing.Picture], form: Form, workers: int = 0
) -> Generator[Outcome, None, None]:
  """Decodes pictures in threads, and yields an `Outcome` for each, in order.

  Few pictures are in memory at any time.

  Args:
    pictures: the pictures.
    form: the form to bring them to.
    workers: the number of threads; 0: one per processor.
  """

  def decode_chunk(chunk: list[listing.Picture]) -> list[Outcome]:
    return [_outcome(picture, form) for picture in chunk]

  workers = workers or os.cpu_count() or 1
  remaining = iter(pictures)
  running: collections.deque[concurrent.futures.Future[list[Outcome]]] = collections.deque()
  executor = concurrent.futures.ThreadPoolExecutor(workers)
  try:
    while chunk := list(itertools.islice(remaining, _CHUNK)):
      running.append(executor.submit(decode_chunk, chunk))
      if len(running) > 2 * workers:
        yield from running.popleft().result()
    while running:
      yield from running.popleft().result()
  except BaseException:
    executor.shutdown(wait=False, cancel_futures=True)  # A thread may hang on a dead disk.
    raise
  executor.shutdown()


def require_same_shape(outcome: Outcome, shape: tuple[int, int, int], reference_name: str) -> None:
  """Raises an error unless a decoded picture has the shape of an earlier one.

  Args:
    outcome: a picture that could be decoded.
    shape: (H, W, C) of the earlier picture.
    reference_name: the name of the earlier picture.

  Raises:
    InputError: the shapes differ.
  """
  assert outcome.decoded is not None
  if outcome.decoded.pixels.shape != shape:
    height, width, _ = outcome.decoded.pixels.shape
    raise settings.InputError(
      "image_size",
      "expected a size to bring all pictures to, since their sizes differ: "
      f"{shape[0]}x{shape[1]} ({listing.printable(reference_name)}), "
      f"{height}x{width} ({listing.printable(outcome.name)})",
    )


def _outcome(picture: listing.Picture, form: Form) -> Outcome:
  try:
    return Outcome(picture.name, picture.label, decode(picture, form), "")
  except UnreadableImage as error:
    return Outcome(picture.name, picture.label, None, str(error))


def _read(path: pathlib.Path) -> bytes:
  try:
    if not stat.S_ISREG(path.stat().st_mode):
      raise UnreadableImage("is not a regular file")  # Reading a FIFO would wait for ever.
    return path.read_bytes()
  except OSError as error:
    raise UnreadableImage(f"cannot be opened ({error.strerror})") from None


def _format(data: bytes) -> str:
  """Returns the format of a file's content, which its name may contradict."""
  if not data:
    raise UnreadableImage("is empty")
  for signature, file_format in _SIGNATURES.items():
    if data.startswith(signature):
      return file_format
  if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
    return "WEBP"
  if data[4:8] == b"ftyp":
    raise UnreadableImage("is an AVIF or HEIF, not a PNG, JPEG, WebP or GIF")
  for signature, file_format in _UNSUPPORTED_SIGNATURES.items():
    if data.startswith(signature):
      raise UnreadableImage(f"is {file_format}, not a PNG, JPEG, WebP or GIF")
  raise UnreadableImage("is not a picture (its content is not PNG, JPEG, WebP or GIF)")


def _open(data: bytes, file_format: str) -> Image.Image:
  try:
    image = _READERS[file_format](io.BytesIO(data))
    if image.width * image.height > MAX_PIXELS:
      raise UnreadableImage(
        f"is too large ({image.width}x{image.height}; at most {MAX_PIXELS:,} pixels are read)"
      )
    image.load()
    return image
  except UnreadableImage:
    raise
  # The decoders raise errors of any kind where they meet bytes that they do not expect.
  except Exception as error:
    raise UnreadableImage(_reason(data, file_format, error)) from None


def _reason(data: bytes, file_format: str, error: Exception) -> str:
  if file_format == "WEBP":
    truncated = len(data) < 8 + int.from_bytes(data[4:8], "little")
  else:
    truncated = _TRAILERS[file_format] not in data[-64:]  # Some writers pad their files.
  if truncated or "truncated" in str(error):
    return "is truncated"
  if "not identified" in str(error):
    return "has no pixels"
  # Without the addresses of objects, which differ each time.
  return f"cannot be decoded ({re.sub(r' ?<[^>]*>', '', str(error)) or type(error).__name__})"


def _pixels(image: Image.Image, form: Form) -> np.ndarray:
  """Returns a picture in a form: uint8 [H, W, C]."""
  if form.channels == 1:
    image = crops.eight_bits(image).convert("L")
  if not form.size:
    pixels = np.asarray(crops.eight_bits(image).convert("L" if form.channels == 1 else "RGB"))
  else:
    crop = crops.centre_crop if form.resize == "bicubic" else crops.area_crop
    pixels = crop(image, form.size)
  # [H, W] or [H, W, 3] -> [H, W, C]
  return pixels.reshape(*pixels.shape[:2], -1)[..., : form.channels]
