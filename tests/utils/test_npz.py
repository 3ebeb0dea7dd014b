"""Arrays of .npz files, and what is said of files that are broken."""

import os

import numpy as np
import pytest

from iddpm_tf import settings
from iddpm_tf.utils import npz


def test_reads_arrays_that_must_be_there_and_optional_ones(tmp_path):
  np.savez(tmp_path / "x.npz", a=np.array([{}]), b=[1, 2], c=np.float32([[3]]))
  arrays = npz.read(tmp_path / "x.npz", "b", optional=("c", "d"))
  assert list(arrays) == ["b", "c"] and arrays["b"].tolist() == [1, 2]
  assert npz.header(tmp_path / "x.npz", "c") == ((1, 1), np.float32)


def test_errors_say_what_the_file_is(tmp_path):
  path = tmp_path / "x.npz"

  def received(*names):
    with pytest.raises(settings.InputError) as caught:
      npz.read(path, *names)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected an .npz with 'a'") and "pickle" not in message
    return message.split("received ")[1]

  assert received("a") == "none (No such file or directory)"
  for content, kind in (
    (b"", "an empty file"),
    (b"hello\n", "another file (not a zip archive)"),
    (b"PK\x03\x04", "one that cannot be read"),
  ):
    path.write_bytes(content)
    assert received("a").startswith(kind)
  with open(path, "wb") as file:
    np.save(file, [1])
  assert received("a").startswith("an .npy file")
  np.savez(path, a=np.array([{}]), b=[1])
  assert received("a") == "one that cannot be read (an array of Python objects, which is not read)"
  assert received("a", "c", "d") == "one without 'c' and 'd' (it has 'a' and 'b')"
  path.unlink()
  os.mkfifo(path)
  assert received("a") == "a special file"
