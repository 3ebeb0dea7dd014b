"""A list of pictures, before any is read."""

import abc
import hashlib
import pathlib
from typing import NamedTuple

import numpy as np

from iddpm_tf import settings


class Picture(NamedTuple):
  name: str
  content: pathlib.Path | bytes | np.ndarray  # A file, a file's bytes, or uint8 [H, W, C].
  label: int  # 0 where the data has none.


class Listing(abc.ABC):
  """The pictures of one split, in an order that is always the same. Subclasses enumerate; none decodes."""

  name: str  # Of the data set.
  num_classes = 0  # 0: no labels.
  class_names: tuple[str, ...] = ()  # Empty where they are unknown.
  channels = 3
  ignored: tuple[str, ...] = ()  # Files beside the pictures that are none by their names.

  @abc.abstractmethod
  def __len__(self):
    """How many pictures there are."""

  @abc.abstractmethod
  def pictures(self, start, stop):
    """Yields the `Picture`s from position `start` up to `stop`; earlier ones are not read."""

  @abc.abstractmethod
  def identities(self):
    """Yields strings that tell this list from another, in order, without reading any picture."""

  def digest(self):
    """SHA-256 of the identities: the same list has the same, wherever it lies."""
    digest = hashlib.sha256()
    for identity in self.identities():
      digest.update(identity.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()


def printable(name):
  """A file's name on one line, whatever bytes it is made of."""
  return "".join(
    c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name
  )


def require_data_dir(config, what):
  """`--data_dir` as a path; `ValueError` where it is not given or no folder."""
  if not config.data_dir:
    raise settings.InputError("data_dir", f"expected {what}, received nothing")
  folder = pathlib.Path(config.data_dir)
  if not folder.is_dir():
    raise settings.InputError(
      "data_dir",
      f"expected {what}, received {folder}, which {'is no folder' if folder.exists() else 'does not exist'}",
    )
  return folder
