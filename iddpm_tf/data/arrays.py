"""Checks of images and labels that a caller has as arrays."""

from collections.abc import Sequence
from typing import Any
from typing import Protocol

import numpy as np

from iddpm_tf import settings

# (H, W, C). None stands for any size; C is then 1, 3 or 4.
Shape = tuple[int | None, int | None, int | None]
ANY_SHAPE: Shape = (None, None, None)
CHANNELS = (1, 3, 4)  # Grey, RGB, and RGB with transparency.


class Images(Protocol):
  """Images that are indexed like an array: uint8 [N, H, W, C]."""

  @property
  def shape(self) -> tuple[int, ...]:
    """(N, H, W, C)."""

  @property
  def dtype(self) -> Any:
    """uint8."""

  def __len__(self) -> int:
    """Returns N."""

  def __getitem__(self, index: Any) -> np.ndarray:
    """Returns uint8 [B, H, W, C] for a slice or for int [B]."""


class Selected:
  """Some of other images, which are read when they are indexed.

  Attributes:
    shape: (N, H, W, C), where N is the number of these images.
    dtype: uint8.
  """

  def __init__(self, images: Images, indices: np.ndarray):
    """Selects images.

    Args:
      images: all images.
      indices: the indices of the images to select, int `[N]`.
    """
    self._images, self._indices = images, indices
    self.shape, self.dtype = (len(indices), *images.shape[1:]), images.dtype

  def __len__(self) -> int:
    """Returns N."""
    return len(self._indices)

  def __getitem__(self, index: Any) -> np.ndarray:
    """Returns uint8 `[B, H, W, C]` for a slice or for int `[B]`."""
    return self._images[self._indices[index]]


def evenly(count: int, total: int) -> np.ndarray:
  """Returns `count` positions evenly over `total`, int `[count]`; all if it is 0 or too large."""
  return np.arange(total) if not 0 < count < total else np.arange(count) * total // count


Scale = float | Sequence[float] | np.ndarray  # One number, or one per image.


def require_images(images: Any, shape: Shape = ANY_SHAPE, *, name: str = "images") -> Images:
  """Returns images that can be indexed by NumPy's rules, after all checks.

  Args:
    images: uint8 [N, H, W, C]: an array, a list of arrays, a tensor, or anything with `shape`,
      `dtype` and `len` that is indexed by slices and by int [B], such as images on the disk.
    shape: the shape of each image.
    name: the argument's name, for errors.

  Raises:
    InputError: the images have another type or shape, or there are none.
  """
  sizes = [letter if size is None else str(size) for letter, size in zip("HWC", shape)]
  expected = f"expected uint8 [N, {', '.join(sizes)}]"
  if not hasattr(images, "shape") or not _has_numpy_dtype(images):
    try:
      images = np.asarray(images)  # A list, or a tensor of another library.
    except (TypeError, ValueError):
      kind = type(images).__name__
      message = f"{expected}, received a {kind} that is not an array of images of one size"
      raise settings.InputError(name, message) from None
  received_shape, dtype = tuple(images.shape), np.dtype(images.dtype)
  problem = f"{expected}, received {dtype} {list(received_shape)}"
  if dtype != np.uint8:
    raise settings.InputError(name, problem + _dtype_hint(dtype, name))
  fits = len(received_shape) == 4 and all(
    size in (None, received) for size, received in zip(shape, received_shape[1:])
  )
  if not fits:
    raise settings.InputError(name, problem + _shape_hint(received_shape, shape, name))
  if received_shape[-1] not in CHANNELS:
    hint = "; channels come last" if received_shape[1] in CHANNELS else ""
    raise settings.InputError(name, f"{problem}: images have 1, 3 or 4 channels{hint}")
  if 0 in received_shape:
    raise settings.InputError(name, f"{problem}: no size can be 0")
  if len(images) != received_shape[0]:
    message = f"expected as many images as the shape says ({received_shape[0]})"
    raise settings.InputError(name, f"{message}, received {len(images)}")
  return images


def require_low_res(images: Any, shape: tuple[int, int, int] | None) -> Images | None:
  """Returns the images that a super-resolution model enlarges, after all checks.

  Args:
    images: uint8 [N, h, w, C], or None for a model that draws from noise alone.
    shape: (h, w, C), the shape that the model enlarges; None if it draws from noise alone.

  Raises:
    InputError: the images have another type or shape, or they are missing, or not expected.
  """
  if shape is None:
    if images is not None:
      message = "expected none, because the model draws from noise alone, received images"
      raise settings.InputError("low_res", message)
    return None
  if images is None:
    size = "x".join(map(str, shape))
    message = f"expected images of {size}, because this model enlarges them, received none"
    raise settings.InputError("low_res", message)
  return require_images(images, shape, name="low_res")


def require_floats(array: Any, shape: Shape, *, name: str) -> np.ndarray:
  """Returns an array as float32 `[N, H, W, C]`, after all checks.

  Args:
    array: real numbers `[N, H, W, C]`.
    shape: the shape of each element, (H, W, C).
    name: the argument's name, for errors.

  Raises:
    InputError: the array has another type or shape.
  """
  values = np.asarray(array)
  expected = f"expected floats [N, {', '.join(map(str, shape))}]"
  if values.dtype.kind != "f" or values.ndim != 4 or values.shape[1:] != shape or not len(values):
    message = f"{expected}, received {values.dtype} {list(values.shape)}"
    raise settings.InputError(name, message)
  return values.astype(np.float32)


def require_scales(scale: Scale, count: int, *, name: str) -> np.ndarray:
  """Returns a number for each image as float32 `[count]`, after all checks.

  Args:
    scale: one finite number, or one per image.
    count: the number of images.
    name: the argument's name, for errors.

  Raises:
    InputError: something else.
  """
  try:
    values = np.asarray(scale, np.float32)
  except (TypeError, ValueError):
    values = np.array([np.nan])
  valid = values.shape in ((), (count,)) and np.all(np.isfinite(values))
  settings.require(valid, name, f"a finite number, or {count} of them", scale)
  return np.broadcast_to(values, [count]).copy()


def require_labels(
  labels: np.ndarray | Sequence[int] | None,
  count: int,
  num_classes: int | None,
  *,
  name: str = "labels",
) -> np.ndarray | None:
  """Returns labels as int32 `[count]`, after all checks; None for a model without classes.

  Args:
    labels: integers `[count]`, one per image; None for a model without classes.
    count: the number of images.
    num_classes: the number of classes, 0 for a model without classes. None: any classes from 0 on.
    name: the argument's name, for errors.

  Raises:
    InputError: labels are missing where there are classes, are given where there are none, or have
      another type, shape or range.
  """
  if num_classes == 0:
    if labels is not None:
      reason = "because the model has no classes"
      raise settings.InputError(name, f"expected none, {reason}, received {_described(labels)}")
    return None
  largest = np.iinfo(np.int32).max - 1 if num_classes is None else num_classes - 1
  classes = "" if num_classes is None else f" from 0 to {largest}"
  expected = f"expected integers{classes}, one per image [{count}]"
  try:
    array = np.asarray(labels)
  except (TypeError, ValueError):
    raise settings.InputError(name, f"{expected}, received {_described(labels)}") from None
  if array.dtype.kind not in "iu" or array.shape != (count,):
    raise settings.InputError(name, f"{expected}, received {_described(labels)}")
  for value in (int(array.min()), int(array.max())):
    if not 0 <= value <= largest:
      raise settings.InputError(name, f"expected classes from 0 to {largest}, received {value}")
  return array.astype(np.int32)


def _dtype_hint(dtype: np.dtype, name: str) -> str:
  if dtype.kind != "f":
    return ""
  return f"; values in [0, 1] become uint8 by np.uint8(np.round({name} * 255))"


def _shape_hint(received: tuple[int, ...], shape: Shape, name: str) -> str:
  if len(received) == 3:
    return f"; {name}[..., None] are grey images [N, H, W], and {name}[None] is a single image"
  if len(received) == 4 and received[1] == shape[-1] and received[-1] != shape[-1]:
    return "; channels come last"
  return ""


def _has_numpy_dtype(images: Any) -> bool:
  try:
    np.dtype(images.dtype)
  except (AttributeError, TypeError):
    return False
  return not hasattr(images, "numpy")  # TensorFlow's tensors are not indexed by int [B].


def _described(labels: Any) -> str:
  if labels is None:
    return "none"
  try:
    array = np.asarray(labels)
  except (TypeError, ValueError):
    return f"a {type(labels).__name__} of other values"
  return f"{array.dtype} {list(array.shape)}"
