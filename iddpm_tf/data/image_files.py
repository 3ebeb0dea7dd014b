"""Images that a user names by a path: an archive, a picture, a folder of pictures, or records."""

from collections.abc import Sequence
import hashlib
import os
import pathlib
from typing import NamedTuple

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import arrays
from iddpm_tf.data import decoding
from iddpm_tf.data import sources
from iddpm_tf.data.readers import listing
from iddpm_tf.data.records import reading
from iddpm_tf.data.records import shards
from iddpm_tf.utils import files
from iddpm_tf.utils import npz

_EXTENSIONS = tuple(f".{extension}" for extension in config_lib.DataConfig.extensions)
KINDS = "an .npz or .npy file, a picture, a folder of pictures, or records"


class ImageFile(NamedTuple):
  """The images of a path."""

  images: arrays.Images  # uint8 [N, H, W, C].
  labels: np.ndarray | None  # Integers [N], or None where the path has none.
  class_names: tuple[str, ...] = ()  # By number; empty where they are unknown.


def read(
  path: files.PathLike,
  shape: arrays.Shape = arrays.ANY_SHAPE,
  *,
  class_names: Sequence[str] = (),
  name: str = "images",
) -> ImageFile:
  """Returns the images of a path.

  An .npz file has images as `arr_0` and perhaps labels as `arr_1`, as the authors' have. A folder
  of pictures has labels if all pictures are in sub-folders, which are the classes. Records are
  those of their training split; their folder `test` is the other split.

  Args:
    path: the path.
    shape: the shape (H, W, C) of each image. Grey images become those of 3 channels where C is 3,
      and images whose channels are equal become grey where C is 1.
    class_names: the names of the classes of a model by number. Sub-folders of these names have the
      model's numbers. Empty numbers the sub-folders by themselves.
    name: the name of the setting that holds the path, for errors.

  Raises:
    InputError: there is no such path, there are no images of this shape, or a class is unknown.
  """
  path = pathlib.Path(path)
  try:
    with settings.renamed(dict.fromkeys(("data_dir", "dataset", "image_size"), name)):
      # Grey pictures are told from others, but transparency is kept only on request.
      content = _read(path, name, 4 if shape[-1] == 4 else 0)
  except settings.InputError as error:
    if error.name == str(path):
      raise settings.InputError(name, str(error)) from None
    raise
  images = _with_channels(content.images, shape[-1])
  images = arrays.require_images(images, shape, name=name)
  labels = _numbered_as(class_names, content, name, path) if class_names else content.labels
  return ImageFile(images, labels, tuple(class_names) or content.class_names)


def checksum(path: files.PathLike, images: arrays.Images) -> str:
  """Returns the SHA-256 of a file, or of the images of a folder."""
  path = pathlib.Path(path)
  if path.is_file():
    return shards.checksum(path)
  digest = hashlib.sha256()
  for start in range(0, len(images), 1000):
    digest.update(np.ascontiguousarray(images[start : start + 1000]).data)
  return digest.hexdigest()


def _read(path, name, channels):
  if path.is_dir():
    return _read_folder(path, channels)
  if not path.exists():
    raise settings.InputError(name, f"expected {KINDS}, received {path}, which does not exist")
  extension = path.suffix.lower()
  if extension == ".npy":
    return ImageFile(_read_npy(path, name), None)
  if extension in _EXTENSIONS:
    return ImageFile(_read_picture(path, name, channels), None)
  content = npz.read(path, "arr_0", optional=("arr_1",))
  return ImageFile(content["arr_0"], content.get("arr_1"))


def _read_folder(path, channels):
  for folder, split in ((path, "train"), (path.parent, path.name)):
    if (folder / shards.INDEX).is_file():
      data = config_lib.DataConfig(dataset="records", data_dir=os.fspath(folder))
      records = reading.Records(data)
      images, labels = records.load(split)
      return ImageFile(images, labels if records.num_classes else None, records.class_names)
  flat = any(child.suffix.lower() in _EXTENSIONS for child in path.iterdir())
  source = sources.load(
    config_lib.DataConfig(
      dataset="folder",
      data_dir=os.fspath(path),
      folder_labels="none" if flat else "subfolders",
      channels=channels,
    ),
    "train",
  )
  if not source.num_classes:
    return ImageFile(source.images, None)
  return ImageFile(source.images, source.labels, source.class_names)


def _read_npy(path, name):
  try:
    return np.load(path, mmap_mode="r", allow_pickle=False)
  except npz.ERRORS as error:
    reason = " ".join(str(error).split())
    message = f"expected an .npy file of images, received {path}, which cannot be read ({reason})"
    raise settings.InputError(name, message) from None


def _read_picture(path, name, channels):
  """Returns a picture as `[1, H, W, C]`, where C is 3 or 4."""
  try:
    form = decoding.Form(size=0, resize="area", channels=channels or 3)
    return decoding.decode(listing.Picture(path.name, path, 0), form).pixels[None]
  except decoding.UnreadableImage as error:
    message = f"expected a picture that can be read, received {path}, which {error}"
    raise settings.InputError(name, message) from None


def _numbered_as(class_names, content, name, path):
  """Returns the labels of images by the numbers of a model's classes."""
  if content.labels is None or not content.class_names:
    return content.labels
  unknown = [each for each in content.class_names if each not in class_names]
  if unknown:
    known = ", ".join([*class_names[:10], *(["..."] if len(class_names) > 10 else [])])
    message = f"expected classes of the model ({known}), received {unknown[0]!r} ({path})"
    raise settings.InputError(name, message)
  numbers = np.array([list(class_names).index(each) for each in content.class_names])
  return numbers[content.labels]


def _with_channels(images, channels):
  """Returns images `[N, H, W, C]` with another number of channels if nothing is lost by it."""
  received = images.shape[-1] if len(images.shape) == 4 else None
  if (received, channels) == (1, 3):
    return np.repeat(images[:], 3, axis=-1)
  if (received, channels) == (3, 1):
    pixels = np.asarray(images[:])
    if np.array_equal(pixels[..., :1], pixels[..., 1:2]) and np.array_equal(
      pixels[..., :1], pixels[..., 2:]
    ):
      return pixels[..., :1]
  return images
