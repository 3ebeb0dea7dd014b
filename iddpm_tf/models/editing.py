"""Checks masks and strengths as people give them, and interpolates between latents."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from iddpm_tf import settings
from iddpm_tf.data import arrays
from iddpm_tf.diffusion.samplers import known_pixels
from iddpm_tf.models import batched_sampling


def make_edits(
  images: Any,
  shape: tuple[int, int, int],
  *,
  masks: Any = None,
  strength: float | Sequence[float] | np.ndarray = 1.0,
  count: int | None = None,
  resampling: known_pixels.Resampling = known_pixels.NO_RESAMPLING,
) -> batched_sampling.Edits:
  """Returns what is known of the images to draw.

  Args:
    images: uint8 `[N, H, W, C]`, or one picture `[H, W, C]`.
    shape: (H, W, C), the shape of the model's images.
    masks: which pixels to draw: bool, or numbers from 0 to 255 of which 128 or more are drawn;
      `[N, H, W]`, `[N, H, W, 1]`, or one mask for all images. None draws all pixels.
    strength: the share of the steps with which images are drawn, in (0, 1], or one per image.
    count: the number of images to draw, to which one picture is repeated. None is that of `images`.
    resampling: how often drawing goes back.

  Raises:
    InputError: a wrong value, or nothing to draw from: no mask, and a strength of 1.
  """
  images = _array("images", images)
  images = np.asarray(arrays.require_images(images[None] if images.ndim == 3 else images, shape))
  count = len(images) if count is None else count
  settings.require_count("count", count)
  settings.require(
    len(images) in (1, count), "count", f"{len(images)}, the number of images", count
  )
  strengths = _strengths(strength, count)
  expected = "a Resampling"
  settings.require(
    isinstance(resampling, known_pixels.Resampling), "resampling", expected, resampling
  )
  settings.require(
    resampling.times == 1 or strengths.min() == 1.0,
    "resample_times",
    "1 with a strength below 1, because going back would leave the picture",
    resampling.times,
  )
  if masks is None and strengths.max() == 1.0:
    message = "expected masks of the pixels to draw, or a strength below 1, received neither"
    raise settings.InputError("masks", message)
  mask = (
    np.full([1, *shape[:2], 1], 255, np.uint8) if masks is None else _masks(masks, shape, count)
  )
  return batched_sampling.Edits(
    np.broadcast_to(images, [count, *shape]),
    np.broadcast_to(mask, [count, *shape[:2], 1]),
    strengths,
    resampling,
  )


def spherical_interpolation(first: np.ndarray, second: np.ndarray, count: int) -> np.ndarray:
  """Returns points on the arc from one latent to another, the ends included.

  Spherical interpolation keeps the norm that noise has (Song et al., 2020, appendix D.3).

  Args:
    first: float `[N, H, W, C]`.
    second: float `[N, H, W, C]`.
    count: the number of points, 2 or more.

  Returns:
    float32 `[N, count, H, W, C]`.
  """
  a, b = (np.reshape(each, [len(each), 1, -1]).astype(np.float64) for each in (first, second))
  norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
  angle = np.arccos(np.clip(np.sum(a * b, axis=-1) / norms, -1, 1))[..., None]  # [N, 1, 1]
  weight = np.linspace(0, 1, count)[:, None]  # [count, 1]
  # The sines of a small angle have the ratio of the angles.
  sine = np.where(angle < 1e-6, 1.0, np.sin(angle))
  parts = [
    np.where(angle < 1e-6, each, np.sin(each * angle) / sine) for each in (1 - weight, weight)
  ]
  return (parts[0] * a + parts[1] * b).reshape(len(a), count, *first.shape[1:]).astype(np.float32)


def _array(name: str, value: Any) -> np.ndarray:
  """Returns an array, or refuses lists of several lengths."""
  try:
    return np.asarray(value)
  except ValueError:
    message = "expected an array of one shape, received images of several shapes"
    raise settings.InputError(name, message) from None


def _strengths(strength: Any, count: int) -> np.ndarray:
  try:
    values = np.asarray(strength, np.float32)
  except (TypeError, ValueError):
    values = np.array([])
  valid = values.shape in ((), (count,)) and np.all((values > 0) & (values <= 1))
  expected = f"a share in (0, 1], or {count} of them"
  settings.require(valid, "strength", expected, strength)
  return np.broadcast_to(values, [count]).astype(np.float32)


def _masks(masks: Any, shape: tuple[int, int, int], count: int) -> np.ndarray:
  """Returns masks as uint8 `[1 or count, H, W, 1]`, 255 where pixels are drawn."""
  values = _array("masks", masks)
  received, (height, width, _) = values.dtype, shape
  if values.shape in ((height, width), (height, width, 1)):
    values = values[None]
  if values.ndim == 3:
    values = values[..., None]
  if values.dtype == np.bool_:
    values = values * np.uint8(255)
  fits = values.shape in ((1, height, width, 1), (count, height, width, 1))
  if values.dtype != np.uint8 or not fits:
    raise settings.InputError(
      "masks",
      f"expected bool or uint8 [{count}, {height}, {width}], or one mask, received {received} "
      f"{list(np.shape(masks))}",
    )
  return np.where(values >= 128, np.uint8(255), np.uint8(0))
