"""What samples are compared with: the statistics of real images' features, and some of the images.

In the authors' .npz layout: `mu`, `sigma` of the features, `mu_s`, `sigma_s` of the spatial ones, `arr_0`
images. Files written here also say in `about`, as JSON, whose features they are and of which images.
"""

import json
from typing import NamedTuple

import numpy as np

from iddpm_tf import settings
from iddpm_tf.data.records import shards
from iddpm_tf.evaluation import frechet
from iddpm_tf.utils import files
from iddpm_tf.utils import npz

_STATISTICS = ("mu", "sigma", "mu_s", "sigma_s")


class Reference(NamedTuple):
  """Parts that a file lacks are None."""

  pool: frechet.Gaussian | None
  spatial: frechet.Gaussian | None
  images: np.ndarray | None  # uint8 [N, H, W, C].
  about: dict  # As written; {} of the authors' files.
  path: str | None
  checksum: str | None  # SHA-256 of the file.


NONE = Reference(None, None, None, {}, None, None)


def write(path, *, pool, spatial, images, about):
  """Writes `Gaussian`s (the second may be None), uint8 [N, H, W, C] and a dictionary: whole or not at all."""
  arrays = {"mu": pool.mean, "sigma": pool.covariance}
  if spatial:
    arrays |= {"mu_s": spatial.mean, "sigma_s": spatial.covariance}
  with files.whole(path) as temporary:
    np.savez(temporary, arr_0=images, about=np.array(json.dumps(about)), **arrays)


def read(path):
  """The `Reference` of an .npz; of images alone (`arr_0`), which is what a sample file holds, too.

  Raises:
    ValueError: no such file, or its arrays are of other shapes or types; in one line, of `--reference`.
  """
  try:
    arrays = npz.read(path, optional=(*_STATISTICS, "arr_0", "about"))
  except ValueError as error:
    raise settings.InputError("reference", f"{error}") from None
  gaussians = []
  for mean, covariance in (_STATISTICS[:2], _STATISTICS[2:]):
    if (mean in arrays) != (covariance in arrays):
      raise settings.InputError(
        "reference", f"expected both {mean} and {covariance}, received one of them ({path})"
      )
    gaussians.append(
      _gaussian(path, mean, arrays[mean], arrays[covariance]) if mean in arrays else None
    )
  images = arrays.get("arr_0")
  if gaussians[0] is None and images is None:
    raise settings.InputError(
      "reference",
      f"expected an .npz with mu and sigma, or images as arr_0, received {path}, which has neither",
    )
  if images is not None:
    require_images("--reference", path, images)
  return Reference(
    *gaussians, images, _about(path, arrays.get("about")), str(path), shards.checksum(path)
  )


def require_images(flag, path, images):
  """`ValueError` unless an array of a file is uint8 [N, H, W, 1 or 3]."""
  if (
    images.dtype != np.uint8
    or images.ndim != 4
    or images.shape[-1] not in (1, 3)
    or 0 in images.shape
  ):
    raise settings.InputError(
      flag,
      f"expected arr_0 to be images, uint8 [N, H, W, 1 or 3], received {images.dtype} "
      f"{list(images.shape)} ({path})",
    )


def _gaussian(path, name, mean, covariance):
  """As a `Gaussian` of float64, of which there is a Fréchet distance."""
  if (
    mean.ndim != 1
    or not mean.size
    or not all(np.issubdtype(array.dtype, np.floating) for array in (mean, covariance))
  ):
    raise settings.InputError(
      "reference",
      f"expected {name} to be float [D], D above 0, received {mean.dtype} {list(mean.shape)} "
      f"({path})",
    )
  gaussian = frechet.Gaussian(mean.astype(np.float64), covariance.astype(np.float64))
  frechet.require_gaussian(f"--reference: {path}", gaussian)
  frechet.require_semidefinite(f"--reference: {path}", gaussian.covariance)
  return gaussian


def _about(path, array):
  if array is None:
    return {}
  try:
    about = json.loads(str(array))
  except json.JSONDecodeError:
    about = None
  if not isinstance(about, dict) or not isinstance(about.get("features_sha256", ""), str):
    raise settings.InputError(
      "reference", f"expected a JSON object as about, received {str(array)[:40]!r} ({path})"
    )
  return about
