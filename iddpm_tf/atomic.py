"""Files that appear whole or not at all, and folders that one process writes to."""

import contextlib
import fcntl
import os
import pathlib
import secrets
import shutil
import tempfile


@contextlib.contextmanager
def whole(path):
  """A path beside `path` to write to; it takes the place of `path` when the block ends without an error."""
  path = pathlib.Path(path)
  # In the same folder, since only within one file system is renaming atomic; the suffix is what NumPy looks at. No
  # other writer's: processes of other machines and containers may have the same number.
  temporary = path.with_name(f".{secrets.token_hex(4)}-{path.name}")
  try:
    yield temporary
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


_LEFT = ".unfinished-"


@contextlib.contextmanager
def workspace(folder):
  """A new folder in `folder` to write to; whoever renames it keeps it, else it goes when the block ends.

  What processes that were killed have left there goes, too.
  """
  with held(folder, wait=True):
    for left in pathlib.Path(folder).glob(f"{_LEFT}*"):
      _remove_unless_held(left)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=_LEFT, dir=folder))
    descriptor = os.open(temporary, os.O_RDONLY)
    with contextlib.suppress(OSError):  # Some network file systems have no locks.
      fcntl.flock(descriptor, fcntl.LOCK_EX)
  try:
    yield temporary
  finally:
    os.close(descriptor)
    shutil.rmtree(temporary, ignore_errors=True)


def _remove_unless_held(folder):
  with contextlib.suppress(OSError):  # Another process has it, or nobody can tell.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
      shutil.rmtree(folder)
    finally:
      os.close(descriptor)


@contextlib.contextmanager
def held(folder, *, wait=False):
  """Holds a folder, which exists, while the block runs; if another process does, waits for it or is a `ValueError`."""
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
      raise ValueError(
          f"--output_dir: expected a folder that no other process writes to, received {folder}") from None
    except OSError:
      pass  # Some network file systems have no locks.
    yield
  finally:
    os.close(descriptor)
