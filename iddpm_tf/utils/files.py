"""Files and folders that appear whole or not at all, and folders that one process writes to."""

from collections.abc import Iterator
import contextlib
import errno
import fcntl
import json
import os
import pathlib
import secrets
import shutil
import socket
import tempfile
from typing import Any

from iddpm_tf import settings

PathLike = str | os.PathLike[str]
_FULL = (errno.ENOSPC, errno.EDQUOT)
# Also of a disk that can only be read, fails, or has vanished.
_OF_DISK = (*_FULL, errno.EROFS, errno.EACCES, errno.EIO, errno.ENOENT, errno.ESTALE)
_UNFINISHED = ".unfinished-"


class DiskError(settings.InputError):
  """A file cannot be written, as on a full disk. The same call continues when there is room."""

  exit_status = 4


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
    move_to_disk(temporary, path)
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


def read_json(path: PathLike) -> Any:
  """Returns the content of a JSON file.

  Raises:
    ValueError: the file is not JSON in UTF-8, or nested too deeply.
    OSError: the file cannot be read.
  """
  try:
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
  except RecursionError:
    raise ValueError("lists or objects are nested too deeply") from None


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
    for folder, _, names in os.walk(temporary):
      for name in names:
        _flush(os.path.join(folder, name))
      _flush(folder)
    os.rename(temporary, target)
    _flush(target.parent)


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


@contextlib.contextmanager
def owned(path: PathLike, setting: str) -> Iterator[None]:
  """Holds a lock while the block runs. The file says who holds it, and is deleted at the end.

  The system takes the lock from a process that dies. Where the file system has no locks, a file of
  a process that runs, or of another host, is taken for a lock.

  Args:
    path: the file, in an existing folder.
    setting: the name of the folder in errors.

  Raises:
    InputError: another process holds the lock.
  """
  path = pathlib.Path(path)
  descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
  try:
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
      taken = not os.path.exists(path) or not os.path.samestat(os.fstat(descriptor), os.stat(path))
    except BlockingIOError:
      taken = True
    except OSError:  # No locks.
      taken = _is_running(path)
    if taken:
      owner = _owner(path)
      who = f"process {owner['pid']} on {owner['host']}" if owner else "another process"
      raise settings.InputError(
        setting,
        f"expected a folder that no other process writes to, received {path.parent}, which {who} "
        f"uses; delete {path} if that process no longer runs",
      )
    os.ftruncate(descriptor, 0)
    content = {"host": socket.gethostname(), "pid": os.getpid()}
    os.pwrite(descriptor, json.dumps(content).encode(), 0)
    try:
      yield
    finally:
      with contextlib.suppress(OSError):
        # Someone may have deleted the folder, and another process have made it anew.
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
          path.unlink()
  finally:
    os.close(descriptor)


def _owner(path: pathlib.Path) -> dict[str, Any] | None:
  """Returns the host and the process in a lock file, or None."""
  try:
    owner = read_json(path)
    return {"host": str(owner["host"]), "pid": int(owner["pid"])}
  except (OSError, ValueError, KeyError, TypeError):
    return None


def _is_running(path: pathlib.Path) -> bool:
  """Returns whether the process in a lock file may be running."""
  owner = _owner(path)
  if owner is None:
    return False
  if owner["host"] != socket.gethostname():
    return True
  try:
    os.kill(owner["pid"], 0)
  except ProcessLookupError:
    return False
  except PermissionError:
    return True
  return owner["pid"] != os.getpid()


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
    raise not_writable(path, setting, error) from None
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
    raise not_writable(path, setting, error) from None


def not_writable(path: pathlib.Path, setting: str, error: OSError) -> settings.InputError:
  """Returns the error for a file or folder that cannot be written.

  Args:
    path: the file or folder.
    setting: its name in the error.
    error: why.
  """
  kind = "file" if path.is_file() and not isinstance(error, FileExistsError) else "folder"
  message = f"expected a {kind} that can be written, received {path} ({error.strerror})"
  return (DiskError if error.errno in _FULL else settings.InputError)(setting, message)


def move_to_disk(source: pathlib.Path, target: pathlib.Path) -> None:
  """Renames a file, so that after a power loss `target` is whole, or what it was before.

  The content is on the disk before the file is renamed, and the new name before this returns.

  Args:
    source: the file.
    target: its new path in the same file system. A file there is replaced.
  """
  _flush(source)
  os.replace(source, target)
  _flush(target.parent)


def is_of_disk(error: Exception) -> bool:
  """Returns whether an error says that a file could not be written, such as on a full disk."""
  if isinstance(error, settings.InputError):
    return isinstance(error, DiskError)
  if isinstance(error, OSError):
    return error.errno in _OF_DISK
  return reason_of(error) in map(os.strerror, _OF_DISK)


def reason_of(error: Exception) -> str:
  """Returns why a file could not be written, in few words such as `No space left on device`."""
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  if isinstance(error, settings.InputError):
    return error.message
  # TensorFlow puts the words of the system last: `FOLDER/step-5; No space left on device`.
  # Its first line may be long because of the path.
  line = (str(error).splitlines() or [type(error).__name__])[0]
  return line.rsplit("; ", 1)[-1].split(" [Op:")[0][:200]


def _flush(path: PathLike) -> None:
  """Writes the content of a file, or the names in a folder, to the disk."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  except OSError as error:
    if error.errno not in (errno.EINVAL, errno.EBADF):  # Some file systems cannot.
      raise
  finally:
    os.close(descriptor)


def _remove_unless_held(folder: pathlib.Path) -> None:
  with contextlib.suppress(OSError):  # Another process holds it, or locks are not available.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
      shutil.rmtree(folder)
    finally:
      os.close(descriptor)
