"""Files that appear whole or not at all."""

import contextlib
import os
import pathlib


@contextlib.contextmanager
def whole(path):
  """A path beside `path` to write to; it takes the place of `path` when the block ends without an error."""
  path = pathlib.Path(path)
  # In the same folder, since only within one file system is renaming atomic; the suffix is what NumPy looks at.
  temporary = path.with_name(f".{os.getpid()}-{path.name}")
  try:
    yield temporary
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)
