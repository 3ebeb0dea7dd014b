"""Arrays of .npz files that others made: read in one place, with one line for what is wrong."""

import contextlib
import lzma
import os
import stat
import struct
import tokenize
import zipfile
import zlib

import numpy as np

from iddpm_tf import settings

# What zipfile, its decompressors and NumPy raise of damaged files; RuntimeError: of encrypted ones and, by a class
# beneath it, of compressions that there are not.
ERRORS = (
  OSError,
  ValueError,
  KeyError,
  TypeError,
  EOFError,
  RuntimeError,
  zipfile.BadZipFile,
  zlib.error,
  lzma.LZMAError,
  struct.error,
  tokenize.TokenError,
  SyntaxError,
  OverflowError,
)


def read(path, *names, optional=()):
  """{name: array} of an .npz; without those of `optional` that it lacks. Nothing is unpickled.

  Raises:
    ValueError: one line that names the path: the file is missing, none, damaged, or lacks an array.
  """
  with _opened(path, names) as content:
    wanted = [*names, *(name for name in optional if name in content.files)]
    arrays = {name: content[name] for name in wanted}
    if strange := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
      raise ValueError(f"{strange[0]!r} is no array")
    return arrays


def header(path, name):
  """Shape and type of an array of an .npz, without reading it; raises as `read`."""
  with _opened(path, (name,)) as content, content.zip.open(f"{name}.npy") as file:
    version = np.lib.format.read_magic(file)
    parse = (
      np.lib.format.read_array_header_1_0
      if version == (1, 0)
      else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = parse(file)
  return shape, dtype


@contextlib.contextmanager
def _opened(path, names):
  """The `NpzFile`, which has all `names`; `ValueError` of whatever goes wrong while it is open."""
  expected = "expected an .npz" + (f" with {_listed(names)}" if names else "")
  try:
    if kind := _other_kind(path):
      raise settings.InputError(path, f"{expected}, received {kind}")
  except OSError as error:
    raise settings.InputError(path, f"{expected}, received none ({error.strerror})") from None
  missing = None
  try:
    with np.load(path, allow_pickle=False) as content:
      missing = [name for name in names if name not in content.files]
      if not missing:
        yield content
        return
      had = _listed(content.files)
  except MemoryError as error:
    raise settings.InputError(
      path, f"{expected}, received one too large for the memory ({_line(error)})"
    ) from None
  except ERRORS as error:
    raise settings.InputError(
      path, f"{expected}, received one that cannot be read ({_line(error)})"
    ) from None
  raise settings.InputError(
    path, f"{expected}, received one without {_listed(missing)} (it has {had})"
  )


def _other_kind(path):
  """What a file is that is no zip archive, or None; a FIFO is not opened, which would wait for ever."""
  if not stat.S_ISREG(mode := os.stat(path).st_mode):
    return "a folder" if stat.S_ISDIR(mode) else "no regular file"
  with open(path, "rb") as file:
    start = file.read(6)
  if start.startswith(b"PK"):
    return None
  if not start:
    return "an empty file"
  return (
    "an .npy file (one array, unnamed)"
    if start == b"\x93NUMPY"
    else "another file (no zip archive)"
  )


def _listed(names):
  shown = [repr(name) for name in names[:6]] + (["..."] if len(names) > 6 else [])
  return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1]))) if shown else "nothing"


def _line(error):
  if "allow_pickle" in str(error):
    return "an array of Python objects, which is not read"
  return " ".join(str(error).split()) or type(error).__name__
