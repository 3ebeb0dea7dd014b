"""Files that appear whole or not at all, and folders that one process writes to."""

import contextlib
import fcntl
import os
import pathlib
import secrets


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
