"""What samples are compared with: statistics of real images' features, and some of the images.

Files have the authors' layout: `mu` and `sigma` of the features, `mu_s` and `sigma_s` of the
spatial features, and images as `arr_0`. Files that are written here also have `about`, JSON that
says which images and whose features they are.
"""

import json
import os
import pathlib
from typing import Any
from typing import NamedTuple

import numpy as np

from iddpm_tf import settings
from iddpm_tf.data import arrays as arrays_lib
from iddpm_tf.data import image_files
from iddpm_tf.data.records import shards
from iddpm_tf.evaluation import frechet
from iddpm_tf.utils import files
from iddpm_tf.utils import npz

_STATISTICS = ("mu", "sigma", "mu_s", "sigma_s")


class Reference(NamedTuple):
  """Real images, or statistics of their features."""

  pool: frechet.Gaussian | None  # None: to be computed from the images.
  spatial: frechet.Gaussian | None  # None: to be computed from the images.
  images: arrays_lib.Images | None  # uint8 [N, H, W, C].
  about: dict[str, Any]  # Which images and whose features; empty if that is unknown.
  path: str | None  # The file; None for images in memory.
  checksum: str | None  # The SHA-256 of the file.


def load(
  reference: "Reference | arrays_lib.Images | str | os.PathLike[str]",
  channels: int | None = None,
) -> Reference:
  """Returns a `Reference`: the given one, the one of a path, or the one of images.

  Args:
    reference: a `Reference`; the path of an .npz of statistics or of images in any form that
      `image_files.read` knows; or images uint8 [N, H, W, C].
    channels: the channels of the images that are compared; None takes those of the path.

  Raises:
    InputError: as `read`, or the images have another type or shape.
  """
  if isinstance(reference, Reference):
    return reference
  if isinstance(reference, (str, os.PathLike)):
    path = pathlib.Path(reference)
    if path.suffix.lower() == ".npz" or not path.exists():
      return read(path)
    images = image_files.read(path, (None, None, channels), name="reference").images
    return Reference(None, None, images, {}, str(path), image_files.checksum(path, images))
  images = arrays_lib.require_images(reference, name="reference")
  return Reference(None, None, images, {}, None, None)


def write(
  path: str | os.PathLike[str],
  *,
  pool: frechet.Gaussian,
  spatial: frechet.Gaussian | None,
  images: np.ndarray,
  about: dict[str, Any],
) -> None:
  """Writes a file of statistics, whole or not at all.

  Args:
    path: the .npz to write.
    pool: the statistics of the features.
    spatial: the statistics of the spatial features, if there are any.
    images: some of the images, uint8 [N, H, W, C].
    about: which images and whose features they are.
  """
  arrays: dict[str, Any] = {"mu": pool.mean, "sigma": pool.covariance}
  if spatial:
    arrays |= {"mu_s": spatial.mean, "sigma_s": spatial.covariance}
  with files.whole(path) as temporary:
    np.savez(temporary, arr_0=images, about=np.array(json.dumps(about)), **arrays)


def read(path: str | os.PathLike[str]) -> Reference:
  """Returns the `Reference` of an .npz file.

  A file of images alone (`arr_0`) is one, too, such as a file of samples.

  Raises:
    InputError: there is no such file, or its arrays have other shapes or types.
  """
  try:
    return _read(path)
  except settings.InputError as error:  # Its name is the path.
    raise settings.InputError("reference", str(error)) from None


def _read(path):
  arrays = npz.read(path, optional=(*_STATISTICS, "arr_0", "about"))
  pool, spatial = (
    _gaussian(path, arrays, mean, covariance)
    for mean, covariance in (_STATISTICS[:2], _STATISTICS[2:])
  )
  images = arrays.get("arr_0")
  if pool is None and images is None:
    message = "expected mu and sigma, or images as arr_0, received a file that has neither"
    raise settings.InputError(path, message)
  if images is not None:
    _require_images(path, images)
  about = _about(path, arrays.get("about"))
  return Reference(pool, spatial, images, about, str(path), shards.checksum(path))


def _require_images(path, images):
  fits = images.ndim == 4 and images.shape[-1] in (1, 3) and 0 not in images.shape
  if images.dtype != np.uint8 or not fits:
    raise settings.InputError(
      path,
      "expected arr_0 to be images, uint8 [N, H, W, 1 or 3], received "
      f"{images.dtype} {list(images.shape)}",
    )


def _gaussian(path, arrays, mean_name, covariance_name):
  """Returns the statistics of two arrays in float64, after all checks; None without the arrays."""
  mean, covariance = arrays.get(mean_name), arrays.get(covariance_name)
  if mean is None and covariance is None:
    return None
  if mean is None or covariance is None:
    message = f"expected both {mean_name} and {covariance_name}, received one of them"
    raise settings.InputError(path, message)
  are_floats = all(np.issubdtype(array.dtype, np.floating) for array in (mean, covariance))
  if mean.ndim != 1 or not mean.size or not are_floats:
    raise settings.InputError(
      path,
      f"expected {mean_name} to be float [D], D above 0, received {mean.dtype} {list(mean.shape)}",
    )
  gaussian = frechet.Gaussian(mean.astype(np.float64), covariance.astype(np.float64))
  frechet.require_gaussian(str(path), gaussian)
  frechet.require_semidefinite(str(path), gaussian.covariance)
  return gaussian


def _about(path, array):
  if array is None:
    return {}
  try:
    about = json.loads(str(array))
  except json.JSONDecodeError:
    about = None
  if not isinstance(about, dict) or not isinstance(about.get("features_sha256", ""), str):
    message = f"expected about to be a JSON object, received {str(array)[:40]!r}"
    raise settings.InputError(path, message)
  return about
