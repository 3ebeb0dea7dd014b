"""Decoding of pictures to arrays of one form. No other module decodes."""

import collections
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator
import concurrent.futures
import contextlib
import io
import itertools
import os
import pathlib
import re
import stat
import threading
from typing import NamedTuple
from typing import TypeVar

import numpy as np
from PIL import BmpImagePlugin
from PIL import GifImagePlugin
from PIL import Image
from PIL import JpegImagePlugin
from PIL import PngImagePlugin
from PIL import WebPImagePlugin

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import crops
from iddpm_tf.data.readers import listing

T = TypeVar("T")

# 134 million. A larger picture is no training image but an attack, or a mistake.
MAX_PIXELS = 2**27
# 67 million: the most pixels that threads decode at a time, unless a single picture has more.
_PIXELS_AT_A_TIME = 2**26
# Pictures per task: starting a task takes as long as decoding a tiny picture.
_CHUNK = 8
# Image.open is not used: it warns of large pictures on the error stream, and then reads them.
_READERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
  "PNG": PngImagePlugin.PngImageFile,
  "JPEG": JpegImagePlugin.JpegImageFile,
  "WEBP": WebPImagePlugin.WebPImageFile,
  "GIF": GifImagePlugin.GifImageFile,
  "BMP": BmpImagePlugin.BmpImageFile,
}
# TIFF is not among them: libtiff writes to the error stream, and reads damaged files as if whole.
_FORMATS = "PNG, JPEG, WebP, GIF or BMP"
_EXTENSIONS = {
  ".png": "PNG",
  ".jpg": "JPEG",
  ".jpeg": "JPEG",
  ".jpe": "JPEG",
  ".jfif": "JPEG",
  ".webp": "WEBP",
  ".gif": "GIF",
  ".bmp": "BMP",
}
_ORIENTATION = 0x0112  # The number of the orientation in EXIF.
# What turns a picture of an EXIF orientation upright.
_UPRIGHT = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}
_GREY_MODES = ("1", "L", "LA", "La")
_ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")
# The first bytes of files.
_SIGNATURES = {
  b"\x89PNG\r\n\x1a\n": "PNG",
  b"\xff\xd8\xff": "JPEG",
  b"GIF87a": "GIF",
  b"GIF89a": "GIF",
  b"BM": "BMP",
}
_UNSUPPORTED_SIGNATURES = {
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
    channels: 1 for grey, 3 for RGB, 4 for RGBA.
    exif_orientation: whether pictures are turned upright.
    background: the colour that transparent pictures are laid over; None ignores transparency.
    max_value: the value of pictures of 16 bits that becomes 255; 0: 65535.
  """

  size: int
  resize: str
  channels: int
  exif_orientation: bool = config_lib.DataConfig.exif_orientation
  background: tuple[int, int, int] | None = config_lib.background_colour(
    config_lib.DataConfig.background
  )
  max_value: int = config_lib.DataConfig.max_value


class Decoded(NamedTuple):
  """A decoded picture.

  Attributes:
    pixels: uint8 [H, W, C], in the form that was asked for.
    width: the width of the picture before it was resized.
    height: its height.
    mode: Pillow's name of its mode.
    format: PNG, JPEG, WEBP, GIF, BMP, or array.
    named_otherwise: whether the file's name says another format.
    is_grey: whether the red, green and blue of every pixel are equal.
    orientation: its EXIF orientation, 1 to 8; 1 is upright.
    is_transparent: whether a pixel is not opaque.
    bits: the bits of each of its values, 8 or 16.
    least: the least of its values; of 8 bits, the least in `pixels`.
    greatest: the greatest of its values; of 8 bits, the greatest in `pixels`.
  """

  pixels: np.ndarray
  width: int
  height: int
  mode: str
  format: str
  named_otherwise: bool
  is_grey: bool
  orientation: int
  is_transparent: bool
  bits: int
  least: int
  greatest: int


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


class _Budget:
  """Lets threads decode as long as their pictures have few pixels together."""

  def __init__(self, limit: int):
    self._limit, self._used = limit, 0
    self._changed = threading.Condition()

  @contextlib.contextmanager
  def taken(self, pixels: int) -> Iterator[None]:
    """Waits until the pixels fit, or no other picture is decoded, and takes them meanwhile."""
    with self._changed:
      self._changed.wait_for(lambda: not self._used or self._used + pixels <= self._limit)
      self._used += pixels
    try:
      yield
    finally:
      with self._changed:
        self._used -= pixels
        self._changed.notify_all()


_BUDGET = _Budget(_PIXELS_AT_A_TIME)


def form_of(config: config_lib.DataConfig, channels: int) -> Form:
  """Returns the form that a configuration brings pictures to.

  Args:
    config: the configuration.
    channels: 1, 3 or 4. The configuration need not know it.
  """
  return Form(
    config.image_size,
    config.resize,
    channels,
    config.exif_orientation,
    config_lib.background_colour(config.background),
    config.max_value,
  )


def decode(picture: listing.Picture, form: Form) -> Decoded:
  """Decodes a picture and brings it to a form. The first of several frames is taken.

  Raises:
    UnreadableImage: the picture cannot be read.
  """
  content = picture.content
  if isinstance(content, np.ndarray):
    image = Image.fromarray(content[..., 0] if content.shape[-1] == 1 else content)
    return _decoded(picture, image, "array", b"", form)
  data = _read(content) if isinstance(content, pathlib.Path) else content
  file_format = _format(data)
  image = _reader(data, file_format)
  with _BUDGET.taken(image.width * image.height):
    return _decoded(picture, _loaded(image, data, file_format), file_format, data, form)


def _decoded(
  picture: listing.Picture, image: Image.Image, file_format: str, data: bytes, form: Form
) -> Decoded:
  """Brings a picture whose pixels are in memory to a form."""
  mode = image.mode
  if mode == "F":
    raise UnreadableImage("has pixels in floating point")
  named_format = _EXTENSIONS.get(os.path.splitext(picture.name)[1].lower(), file_format)
  orientation = _orientation(image)
  if form.exif_orientation and orientation in _UPRIGHT:
    image = image.transpose(_UPRIGHT[orientation])
  width, height = image.size
  bits, least, greatest = _range(image, data)
  image, is_transparent = _eight_bits(image, form)
  pixels, is_grey = _pixels(image, form, is_transparent)
  if bits == 8:
    colours = pixels[..., :3]
    least, greatest = int(colours.min()), int(colours.max())
  return Decoded(
    pixels,
    width,
    height,
    mode,
    file_format,
    named_format != file_format,
    is_grey,
    orientation,
    is_transparent,
    bits,
    least,
    greatest,
  )


def any_colour(pictures: Iterable[listing.Picture], form: Form, workers: int = 0) -> bool:
  """Returns whether a picture has colour. Pictures after the first one that has are not read.

  Pictures that cannot be read have none.

  Args:
    pictures: the pictures.
    form: the form that they are brought to.
    workers: the number of threads; 0: one per processor.
  """
  with contextlib.closing(
    _in_threads(pictures, lambda x: _has_colour(x, form), workers)
  ) as answers:
    return any(answers)


def outcomes(
  pictures: Iterable[listing.Picture], form: Form, workers: int = 0, *, largest: int = 0
) -> Generator[Outcome, None, None]:
  """Decodes pictures in threads, and yields an `Outcome` for each, in order.

  Few pictures are in memory at any time.

  Args:
    pictures: the pictures.
    form: the form to bring them to.
    workers: the number of threads; 0: one per processor.
    largest: the largest height or width of `pixels`, to which larger ones are reduced; 0: any.
  """
  return _in_threads(pictures, lambda picture: _outcome(picture, form, largest), workers)


def require_same_size(outcome: Outcome, size: tuple[int, int], reference_name: str) -> None:
  """Raises an error unless a decoded picture has the size of an earlier one.

  Args:
    outcome: a picture that could be decoded.
    size: (H, W) of the earlier picture.
    reference_name: the name of the earlier picture.

  Raises:
    InputError: the sizes differ.
  """
  assert outcome.decoded is not None
  height, width, _ = outcome.decoded.pixels.shape
  if (height, width) != size:
    raise settings.InputError(
      "image_size",
      "expected a size to bring all pictures to, since their sizes differ: "
      f"{size[0]}x{size[1]} ({listing.printable(reference_name)}), "
      f"{height}x{width} ({listing.printable(outcome.name)})",
    )


def _in_threads(
  pictures: Iterable[listing.Picture], function: Callable[[listing.Picture], T], workers: int
) -> Generator[T, None, None]:
  """Yields `function(picture)` for each picture, in order. Few are in memory at any time."""

  def call(chunk: list[listing.Picture]) -> list[T]:
    return [function(picture) for picture in chunk]

  workers = workers or os.cpu_count() or 1
  remaining = iter(pictures)
  running: collections.deque[concurrent.futures.Future[list[T]]] = collections.deque()
  executor = concurrent.futures.ThreadPoolExecutor(workers)
  try:
    while chunk := list(itertools.islice(remaining, _CHUNK)):
      running.append(executor.submit(call, chunk))
      if len(running) > 2 * workers:
        yield from running.popleft().result()
    while running:
      yield from running.popleft().result()
  except BaseException:
    executor.shutdown(wait=False, cancel_futures=True)  # A thread may hang on a dead disk.
    raise
  executor.shutdown()


def _has_colour(picture: listing.Picture, form: Form) -> bool:
  try:
    content = picture.content
    background = form.background or (0, 0, 0)
    if not isinstance(content, np.ndarray) and len(set(background)) == 1:
      data = _read(content) if isinstance(content, pathlib.Path) else content
      # The header is enough to know that a picture is grey.
      with _reader(data, _format(data)) as image:
        if image.mode in _GREY_MODES or image.mode.startswith("I"):
          return False
    return not decode(picture, form).is_grey
  except UnreadableImage:
    return False


def _outcome(picture: listing.Picture, form: Form, largest: int) -> Outcome:
  try:
    decoded = decode(picture, form)
    if largest and max(decoded.pixels.shape) > largest:
      decoded = decoded._replace(pixels=_reduced(decoded.pixels, largest))
    return Outcome(picture.name, picture.label, decoded, "")
  except UnreadableImage as error:
    return Outcome(picture.name, picture.label, None, str(error))


def _reduced(pixels: np.ndarray, largest: int) -> np.ndarray:
  """Returns smaller pixels, [H, W, C] -> [h, w, C], whose longer side is `largest`."""
  channels = pixels.shape[-1]
  image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
  scale = largest / max(image.size)
  size = tuple(max(1, round(side * scale)) for side in image.size)
  small = np.asarray(image.resize((size[0], size[1]), Image.Resampling.BILINEAR))
  return small.reshape(*small.shape[:2], channels)


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
    raise UnreadableImage(f"is an AVIF or HEIF, not a {_FORMATS}")
  for signature, file_format in _UNSUPPORTED_SIGNATURES.items():
    if data.startswith(signature):
      raise UnreadableImage(f"is {file_format}, not a {_FORMATS}")
  raise UnreadableImage(f"is not a picture (its content is not {_FORMATS})")


def _loaded(image: Image.Image, data: bytes, file_format: str) -> Image.Image:
  """Returns a picture after its pixels were read into memory."""
  try:
    image.load()
    return image
  # The decoders raise errors of any kind where they meet bytes that they do not expect.
  except Exception as error:
    raise UnreadableImage(_reason(data, file_format, error)) from None


def _reader(data: bytes, file_format: str) -> Image.Image:
  """Returns a picture of which only the header has been read."""
  try:
    image = _READERS[file_format](io.BytesIO(data))
  except Exception as error:
    raise UnreadableImage(_reason(data, file_format, error)) from None
  if image.width * image.height > MAX_PIXELS:
    raise UnreadableImage(
      f"is too large ({image.width}x{image.height}; at most {MAX_PIXELS:,} pixels are read)"
    )
  return image


def _reason(data: bytes, file_format: str, error: Exception) -> str:
  if file_format == "WEBP":
    truncated = len(data) < 8 + int.from_bytes(data[4:8], "little")
  elif file_format == "BMP":
    truncated = len(data) < int.from_bytes(data[2:6], "little")
  else:
    truncated = _TRAILERS[file_format] not in data[-64:]  # Some writers pad their files.
  if truncated or "truncated" in str(error):
    return "is truncated"
  if "not identified" in str(error):
    return "has no pixels"
  # Without the addresses of objects, which differ each time.
  return f"cannot be decoded ({re.sub(r' ?<[^>]*>', '', str(error)) or type(error).__name__})"


def _orientation(image: Image.Image) -> int:
  """Returns the EXIF orientation, 1 to 8. A picture without it, or with a broken one, has 1."""
  try:
    orientation = image.getexif().get(_ORIENTATION, 1)
  except Exception:
    return 1
  return orientation if orientation in _UPRIGHT else 1


def _range(image: Image.Image, data: bytes) -> tuple[int, int, int]:
  """Returns the bits of the values, and the least and the greatest value of a picture of 16 bits.

  Of colours of 16 bits, Pillow reads the upper 8.
  """
  if image.mode.startswith("I"):
    values = np.asarray(image)
    return 16, int(values.min()), int(values.max())
  if data.startswith(b"\x89PNG") and data[24] == 16:
    colours = np.asarray(image.convert("RGB"))
    return 16, 256 * int(colours.min()), 256 * int(colours.max()) + 255
  return 8, 0, 0


def _eight_bits(image: Image.Image, form: Form) -> tuple[Image.Image, bool]:
  """Returns a picture of 8 bits, and whether a pixel is not opaque.

  A picture that has such a pixel is of mode RGBA then. Others have no transparency any more: Pillow
  would warn of it.
  """
  transparency = image.info.pop("transparency", None)
  rgba = None
  if image.mode.startswith("I"):
    opaque = np.asarray(image) != transparency
    image = crops.eight_bits(image, form.max_value)
    if transparency is not None:
      rgba = image.convert("RGB")
      rgba.putalpha(Image.fromarray(np.where(opaque, np.uint8(255), np.uint8(0))))
  elif image.mode in _ALPHA_MODES:
    rgba = image.convert("RGBA")
  elif transparency is not None:
    if isinstance(transparency, tuple) and max(transparency) > 255:
      # Pillow has read the upper 8 bits of the colours.
      transparency = tuple(value >> 8 for value in transparency)
    image.info["transparency"] = transparency
    rgba = image.convert("RGBA")
    image.info.pop("transparency")
  if rgba is None or np.all(np.asarray(rgba.getchannel("A")) == 255):
    return image, False
  ignored = form.background is None and form.channels != 4
  return image if ignored else rgba, True


def _pixels(image: Image.Image, form: Form, is_transparent: bool) -> tuple[np.ndarray, bool]:
  """Returns a picture of 8 bits in a form, uint8 [H, W, C], and whether it is grey."""
  if form.channels == 4:
    image = image.convert("RGBA")
  elif is_transparent and form.background is not None:
    # The average over a background is the same before and after resizing with premultiplied alpha.
    background = Image.new("RGB", image.size, form.background)
    background.paste(image.convert("RGB"), mask=image.getchannel("A"))
    image = background
  if not form.size:
    pixels = np.asarray(image if form.channels == 4 else image.convert("RGB"))
  else:
    crop = crops.centre_crop if form.resize == "bicubic" else crops.area_crop
    pixels = crop(image, form.size, mode="RGBA" if form.channels == 4 else "RGB")
  is_grey = bool(np.all(pixels[..., :1] == pixels[..., 1:3]))
  if form.channels == 1:
    return np.asarray(Image.fromarray(pixels).convert("L"))[..., None], is_grey
  if form.channels == 4 and is_transparent and form.background is not None:
    # The colours of transparent pixels are unseen, and any editor may have left any in them.
    unseen = np.array([*form.background, 0], np.uint8)
    pixels = np.where(pixels[..., 3:] == 0, unseen, pixels)
  return pixels[..., : form.channels], is_grey
