"""Files of arrays (.npz): those that others made, and those that do not fit into memory."""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import lzma
import math
import os
import stat
import struct
import tokenize
from typing import Any
import zipfile
import zlib

import numpy as np

from iddpm_tf import settings
from iddpm_tf.utils import files

# The errors that zipfile, its decompressors and NumPy raise for damaged files. RuntimeError is for
# encrypted files, and its subclass NotImplementedError for unknown compressions.
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


def read(path: files.PathLike, *names: str, optional: Sequence[str] = ()) -> dict[str, np.ndarray]:
  """Returns arrays of an .npz file by name. Python objects are never unpickled.

  Args:
    path: the file.
    *names: the arrays that it must have.
    optional: further arrays, which are left out where the file lacks them.

  Raises:
    InputError: the file is missing or damaged, is another kind of file, or lacks an array.
  """
  with _opened(path, names) as content:
    present = [*names, *(name for name in optional if name in content.files)]
    arrays = {name: content[name] for name in present}
    for name, array in arrays.items():
      if not isinstance(array, np.ndarray):
        raise ValueError(f"{name!r} is not an array")
    return arrays


def header(path: files.PathLike, name: str) -> tuple[tuple[int, ...], np.dtype]:
  """Returns the shape and the type of an array of an .npz file, without reading the array.

  Raises:
    InputError: as `read`.
  """
  with _opened(path, (name,)) as content, content.zip.open(f"{name}.npy") as file:
    if np.lib.format.read_magic(file) == (1, 0):
      shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    else:
      shape, _, dtype = np.lib.format.read_array_header_2_0(file)
  return shape, dtype


def write_parts(
  path: files.PathLike, shape: Sequence[int], parts: Iterable[np.ndarray], *others: np.ndarray
) -> None:
  """Writes an .npz as `np.savez` does, whose first array is never in memory as a whole.

  Args:
    path: the file.
    shape: the shape of the first array, uint8.
    parts: the parts of the first array, in their order.
    *others: the further arrays.

  Raises:
    ValueError: the parts have another size than the shape.
  """
  header = {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)}
  with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
    # `np.savez` names arrays without a name so.
    with archive.open("arr_0.npy", "w", force_zip64=True) as file:
      np.lib.format.write_array_header_1_0(file, header)
      written = sum(file.write(np.ascontiguousarray(part, np.uint8).data) for part in parts)
    if written != math.prod(shape):
      raise ValueError(f"expected parts of {math.prod(shape)} bytes in all, received {written}")
    for number, array in enumerate(others, 1):
      with archive.open(f"arr_{number}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array(file, array, allow_pickle=False)


@contextlib.contextmanager
def _opened(path: files.PathLike, names: Sequence[str]) -> Iterator[Any]:
  """Yields an `NpzFile` that has the arrays `names`.

  Raises:
    InputError: the file cannot be opened, or an error of `ERRORS` occurs while it is open.
  """
  expected = "expected an .npz" + (f" with {_listed(names)}" if names else "")
  try:
    kind = _other_kind(path)
  except OSError as error:
    raise settings.InputError(path, f"{expected}, received none ({error.strerror})") from None
  if kind:
    raise settings.InputError(path, f"{expected}, received {kind}")
  try:
    with np.load(path, allow_pickle=False) as content:
      missing = [name for name in names if name not in content.files]
      if not missing:
        yield content
        return
      present = _listed(content.files)
  except MemoryError as error:
    raise settings.InputError(
      path, f"{expected}, received one that is too large for the memory ({_line(error)})"
    ) from None
  except ERRORS as error:
    raise settings.InputError(
      path, f"{expected}, received one that cannot be read ({_line(error)})"
    ) from None
  raise settings.InputError(
    path, f"{expected}, received one without {_listed(missing)} (it has {present})"
  )


def _other_kind(path: files.PathLike) -> str | None:
  """Returns what a file is if it is not a zip archive.

  A FIFO is not opened, because that would wait for ever.
  """
  mode = os.stat(path).st_mode
  if not stat.S_ISREG(mode):
    return "a folder" if stat.S_ISDIR(mode) else "a special file"
  with open(path, "rb") as file:
    start = file.read(6)
  if start.startswith(b"PK"):
    return None
  if not start:
    return "an empty file"
  if start == b"\x93NUMPY":
    return "an .npy file (one array without a name)"
  return "another file (not a zip archive)"


def _listed(names: Sequence[str]) -> str:
  """Returns names as a list in words, such as `'a', 'b' and 'c'`."""
  if not names:
    return "nothing"
  shown = [repr(name) for name in names[:6]] + (["..."] if len(names) > 6 else [])
  return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def _line(error: BaseException) -> str:
  """Returns an error's message on one line."""
  if "allow_pickle" in str(error):
    return "an array of Python objects, which is not read"
  return " ".join(str(error).split()) or type(error).__name__
