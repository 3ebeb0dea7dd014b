"""Listings: the pictures of a split, before any picture is read."""

import abc
import collections
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import hashlib
import os
import pathlib
from typing import NamedTuple

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf import settings

# Formats of pictures that are not read, by their extensions.
_UNREAD_FORMATS = {
  ".tif": "TIFF",
  ".tiff": "TIFF",
  ".heic": "HEIF",
  ".heif": "HEIF",
  ".avif": "AVIF",
  ".psd": "PSD",
  ".pdf": "PDF",
}


class Picture(NamedTuple):
  """A picture that has not been decoded.

  Attributes:
    name: its path or key within the data set.
    content: the path of a file, the bytes of a file, or uint8 [H, W, C].
    label: its class; 0 where the data has no labels.
  """

  name: str
  content: pathlib.Path | bytes | np.ndarray
  label: int


class Listing(abc.ABC):
  """A listing of the pictures of one split, in an order that is always the same.

  Subclasses enumerate pictures, and decode none.

  Attributes:
    name: the name of the data set.
    num_classes: the number of classes; 0 where the data has no labels.
    class_names: the names of the classes; empty where they are unknown.
    channels: 1 for grey pictures, 3 for RGB, 4 for RGBA; 0: only the pictures themselves tell.
    ignored: the names of files beside the pictures that are not pictures by their extension.
    layout: a line that says what was taken as which split; empty where that is plain.
  """

  name: str
  num_classes: int = 0
  class_names: tuple[str, ...] = ()
  channels: int = 0
  ignored: tuple[str, ...] = ()
  layout: str = ""

  @abc.abstractmethod
  def __len__(self) -> int:
    """Returns the number of pictures."""

  @abc.abstractmethod
  def pictures(self, start: int, stop: int) -> Iterator[Picture]:
    """Yields the pictures from position `start` up to `stop`, without reading earlier ones."""

  @abc.abstractmethod
  def identities(self) -> Iterator[str]:
    """Yields strings that distinguish this listing from others, without reading any picture."""

  def notes(self) -> list[str]:
    """Returns lines that a user should read, such as what was ignored."""
    notes = [self.layout] if self.layout else []
    if self.ignored:
      notes.append(
        f"{len(self.ignored):,} other files are ignored: {by_extension(self.ignored)}"
        f"{advice_on_formats(self.ignored)}"
      )
    return notes

  def digest(self) -> str:
    """Returns the SHA-256 of the identities, which does not depend on where the data lies."""
    digest = hashlib.sha256()
    for identity in self.identities():
      digest.update(identity.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()


def by_extension(names: Iterable[str]) -> str:
  """Returns how many files there are by extension, such as `30 .bmp, 2 without extension`."""
  counts = collections.Counter(os.path.splitext(name)[1].lower() for name in names)
  return ", ".join(
    f"{count:,} {printable(extension) or 'without extension'}"
    for extension, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
  )


def advice_on_formats(names: Iterable[str]) -> str:
  """Returns what to do with files of formats that are not read, or "" if there are none.

  The text continues a sentence: `; TIFF is not read (30 files): convert them, for example to PNG`.
  """
  extensions = (os.path.splitext(name)[1].lower() for name in names)
  counts = collections.Counter(
    _UNREAD_FORMATS[extension] for extension in extensions if extension in _UNREAD_FORMATS
  )
  return "".join(
    f"; {name} is not read ({counted(count, 'file')}): convert {'it' if count == 1 else 'them'}, "
    "for example to PNG"
    for name, count in sorted(counts.items())
  )


def describe_without_pictures(ignored: Sequence[str]) -> str:
  """Returns what a folder without pictures holds and what to do, to follow `received`.

  Args:
    ignored: the names of its files, which are no pictures by their extension.
  """
  if not ignored:
    return (
      "a folder without files (hidden ones are ignored); data_dir is the folder that holds the "
      "pictures, or their sub-folders"
    )
  text = f"{counted(len(ignored), 'other file')} ({by_extension(ignored)})"
  return f"{text}{advice_on_formats(ignored) or '; extensions names the files that are pictures'}"


def describe_unreadable(pictures: Listing, first: str, reason: str) -> str:
  """Returns the message for pictures none of which can be read.

  Args:
    pictures: the listing.
    first: the name of the first picture.
    reason: why it cannot be read, to follow `which`.
  """
  return (
    f"expected pictures that can be read, received {counted(len(pictures), 'picture')} of "
    f"{pictures.name}, none of which can, the first being {printable(first)}, which {reason}; "
    "convert them, for example to PNG"
  )


def counted(count: int, noun: str) -> str:
  """Returns a number with its noun, such as `1 file` or `1,000 files`."""
  return f"{count:,} {noun}{'' if count == 1 else 's'}"


def printable(name: str) -> str:
  """Returns a file's name on one line, with unprintable characters escaped."""
  return "".join(
    c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name
  )


def require_data_dir(config: config_lib.DataConfig, expected: str) -> pathlib.Path:
  """Returns the folder of the data.

  Args:
    config: the configuration of the data.
    expected: a description of the folder, for errors.

  Raises:
    InputError: the folder is not given, or is not a folder.
  """
  if not config.data_dir:
    raise settings.InputError("data_dir", f"expected {expected}, received nothing")
  folder = pathlib.Path(config.data_dir)
  if not folder.is_dir():
    problem = "is not a folder" if folder.exists() else "does not exist"
    raise settings.InputError(
      "data_dir", f"expected {expected}, received {folder}, which {problem}"
    )
  return folder
