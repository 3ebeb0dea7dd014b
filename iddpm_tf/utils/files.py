"""Files and folders that appear whole or not at all, and folders that one process writes to."""

from collections.abc import Iterator
import contextlib
import fcntl
import json
import os
import pathlib
import secrets
import shutil
import tempfile
from typing import Any

from iddpm_tf import settings

PathLike = str | os.PathLike[str]
_UNFINISHED = ".unfinished-"


@contextlib.contextmanager
def whole(path: PathLike, *, sole_writer: bool = False) -> Iterator[pathlib.Path]:
  """Yields a temporary path, whose file replaces `path` when the block ends without an error.

  The file is on the disk before it is renamed, so that neither a killed process nor a power loss
  leaves a part of it.

  Args:
    path: the file to write.
    sole_writer: whether no other process writes this file. The temporary name is then always the
      same, so that the next writer replaces what a killed one has left.
  """
  path = pathlib.Path(path)
  # In the same folder, because renaming is atomic only within one file system. The suffix stays,
  # because NumPy looks at it. Process numbers are not unique across machines and containers.
  prefix = "part" if sole_writer else secrets.token_hex(4)
  temporary = path.with_name(f".{prefix}-{path.name}")
  try:
    yield temporary
    _flush(temporary)
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def write_text(path: PathLike, text: str, *, sole_writer: bool = False) -> None:
  """Writes a whole UTF-8 text file; `sole_writer` is that of `whole`."""
  with whole(path, sole_writer=sole_writer) as temporary:
    temporary.write_text(text, encoding="utf-8")


def write_json(
  path: PathLike, content: Any, indent: int | None = None, *, sole_writer: bool = False
) -> None:
  """Writes a whole JSON file that ends with a newline; `sole_writer` is that of `whole`."""
  write_text(path, json.dumps(content, indent=indent) + "\n", sole_writer=sole_writer)


@contextlib.contextmanager
def workspace(folder: PathLike) -> Iterator[pathlib.Path]:
  """Yields a new temporary folder inside `folder`, which the block may rename to keep.

  The temporary folder is deleted when the block ends. So are temporary folders of killed processes.
  """
  with held(folder, wait=True):
    for leftover in pathlib.Path(folder).glob(f"{_UNFINISHED}*"):
      _remove_unless_held(leftover)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
    descriptor = os.open(temporary, os.O_RDONLY)
    with contextlib.suppress(OSError):  # Some network file systems have no locks.
      fcntl.flock(descriptor, fcntl.LOCK_EX)
  try:
    yield temporary
  finally:
    os.close(descriptor)
    shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def whole_folder(path: PathLike) -> Iterator[pathlib.Path]:
  """Yields a temporary folder that becomes `path` when the block ends without an error.

  Args:
    path: a folder that does not exist, or is empty. A link to an empty folder is followed.
  """
  target = pathlib.Path(path).resolve()
  target.parent.mkdir(parents=True, exist_ok=True)
  with workspace(target.parent) as temporary:
    yield temporary
    temporary.chmod(0o755)
    os.rename(temporary, target)


@contextlib.contextmanager
def held(folder: PathLike, *, wait: bool = False, setting: str = "output_dir") -> Iterator[None]:
  """Locks an existing folder while the block runs.

  Args:
    folder: the folder.
    wait: whether to wait for another process that holds it.
    setting: the name of the folder in errors.

  Raises:
    InputError: another process holds the folder, and `wait` is false.
  """
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
      message = f"expected a folder that no other process writes to, received {folder}"
      raise settings.InputError(setting, message) from None
    except OSError:
      pass  # Some network file systems have no locks.
    yield
  finally:
    os.close(descriptor)


def make_folder(path: PathLike, setting: str = "output_dir") -> pathlib.Path:
  """Makes a folder and its parents, checks that files can be written to it, and returns its path.

  Raises:
    InputError: the folder cannot be made or written. `setting` is its name in the error.
  """
  path = pathlib.Path(path)
  require_writable(path, setting)
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise _not_writable(path, setting, error) from None
  return path


def require_writable(path: PathLike, setting: str = "output_dir") -> None:
  """Checks that a file, or files in a folder, can be written. Nothing is changed.

  A command tries what it will write before it begins its work, which may take hours.

  Args:
    path: a file or a folder. Neither it nor its parents need exist yet.
    setting: its name in the error.

  Raises:
    InputError: it cannot be written, as on a disk that can only be read.
  """
  settings.require_local(setting, path)
  path = pathlib.Path(path)
  existing = next(place for place in (path, *path.absolute().parents) if os.path.lexists(place))
  try:
    if existing == path and not path.is_dir():
      os.close(os.open(path, os.O_WRONLY | os.O_APPEND))
    else:
      with tempfile.TemporaryFile(dir=existing):
        pass
  except OSError as error:
    raise _not_writable(path, setting, error) from None


def _not_writable(path: pathlib.Path, setting: str, error: OSError) -> settings.InputError:
  kind = "file" if path.is_file() and not isinstance(error, FileExistsError) else "folder"
  message = f"expected a {kind} that can be written, received {path} ({error.strerror})"
  return settings.InputError(setting, message)


def _flush(path: pathlib.Path) -> None:
  """Writes a file's content to the disk."""
  with open(path, "rb") as file:
    os.fsync(file.fileno())


def _remove_unless_held(folder: pathlib.Path) -> None:
  with contextlib.suppress(OSError):  # Another process holds it, or locks are not available.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
      shutil.rmtree(folder)
    finally:
      os.close(descriptor)
