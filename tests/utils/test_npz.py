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


def test_an_array_is_written_in_parts(tmp_path):
  images = np.arange(7 * 2 * 3, dtype=np.uint8).reshape(7, 2, 3)
  parts = (images[:4, ::1], images[4:6], images[6:])
  npz.write_parts(tmp_path / "x.npz", images.shape, parts, np.int32([3, 1]))
  with np.load(tmp_path / "x.npz") as content:
    assert content.files == ["arr_0", "arr_1"]
    np.testing.assert_array_equal(content["arr_0"], images)
    assert content["arr_0"].dtype == np.uint8 and content["arr_1"].tolist() == [3, 1]
  with pytest.raises(ValueError, match="expected parts of 42 bytes in all, received 36"):
    npz.write_parts(tmp_path / "y.npz", images.shape, (images[:6],))


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
