"""Files and folders that appear whole or not at all."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest
import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.utils import files


def test_simultaneous_writers_leave_one_whole_file(tmp_path):
  path = tmp_path / "a.txt"
  with contextlib.ExitStack() as writers:
    temporaries = [writers.enter_context(files.whole(path)) for _ in range(3)]
    assert len(set(temporaries)) == 3 and not path.exists()
    for i, temporary in enumerate(temporaries):
      temporary.write_text(str(i))
  assert path.read_text() == "0"  # The block of this writer ends last.
  assert [path] == [*tmp_path.iterdir()]


def test_a_failing_writer_leaves_the_earlier_file(tmp_path):
  path = tmp_path / "a.npz"
  path.write_text("before")
  with pytest.raises(OSError, match="full"), files.whole(path) as temporary:
    assert (temporary.parent, temporary.suffix) == (path.parent, path.suffix)
    temporary.write_text("half")
    raise OSError("full")
  assert path.read_text() == "before"
  assert [path] == [*tmp_path.iterdir()]


def test_a_workspace_deletes_those_of_killed_processes(tmp_path):
  killed = subprocess.Popen(
    [
      sys.executable,
      "-c",
      "import sys, time; from iddpm_tf.utils import files\n"
      "with files.workspace(sys.argv[1]) as folder:\n"
      "  (folder / 'a').touch(); print(folder, flush=True); time.sleep(60)",
      str(tmp_path),
    ],
    stdout=subprocess.PIPE,
    text=True,
  )
  leftover = pathlib.Path(killed.stdout.readline().strip())
  with files.workspace(tmp_path) as ours:
    assert (leftover / "a").exists()  # Its process is still running.
    killed.kill()
    killed.wait()
    killed.stdout.close()
    with files.workspace(tmp_path) as other:
      assert not leftover.exists() and ours.exists() and other != ours
      other.rename(tmp_path / "kept")
  assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_folder_is_held_by_one_process(tmp_path):
  with files.held(tmp_path):
    hold = "import sys; from iddpm_tf.utils import files\nwith files.held(sys.argv[1]): pass"
    other = subprocess.run(
      [sys.executable, "-c", hold, str(tmp_path)], capture_output=True, text=True, check=False
    )
  assert other.returncode == 1 and "that no other process writes to" in other.stderr
  with files.held(tmp_path):
    pass


def test_a_sole_writer_replaces_what_a_killed_one_has_left(tmp_path):
  path = tmp_path / "a.npy"
  with pytest.raises(KeyboardInterrupt), files.whole(path, sole_writer=True) as temporary:
    raise KeyboardInterrupt
  temporary.write_text("half")  # A killed process does not delete it.
  with files.whole(path, sole_writer=True) as same:
    same.write_text("whole")
  assert same == temporary and [path] == [*tmp_path.iterdir()]
  assert path.read_text() == "whole"


def test_json_ends_with_a_newline(tmp_path):
  files.write_json(tmp_path / "a.json", {"b": [1, "é"]}, indent=1)
  text = (tmp_path / "a.json").read_text()
  assert text.endswith("}\n") and json.loads(text) == {"b": [1, "é"]}


def test_a_whole_folder_appears_when_its_block_ends(tmp_path):
  with files.whole_folder(tmp_path / "new/a") as folder:
    (folder / "b").touch()
    assert not (tmp_path / "new/a").exists()
  assert (tmp_path / "new/a/b").exists()
  with pytest.raises(OSError, match="full"), files.whole_folder(tmp_path / "new/c") as folder:
    raise OSError("full")
  assert [path.name for path in (tmp_path / "new").iterdir()] == ["a"]


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(
    settings.InputError, match=r"^model_dir: expected a folder that can be written"
  ):
    files.make_folder(tmp_path / "file/a", "model_dir")
  assert files.make_folder(tmp_path / "a/b").is_dir()


def test_what_cannot_be_written_is_refused_before_it_is_made(tmp_path, read_only):
  (tmp_path / "file").touch()
  files.require_writable(tmp_path / "file")
  files.require_writable(tmp_path / "new/deep")
  assert [path.name for path in tmp_path.iterdir()] == ["file"]
  for name in ("file", "file/below"):
    with pytest.raises(settings.InputError, match=r"^here: expected a folder that can be written"):
      files.make_folder(tmp_path / name, "here")
  read_only(tmp_path)
  for function in (files.make_folder, files.require_writable):
    with pytest.raises(settings.InputError) as caught:
      function(tmp_path / "new/deep")
    message = f"output_dir: expected a folder that can be written, received {tmp_path}/new/deep"
    assert str(caught.value) == f"{message} (Read-only file system)"
  assert not (tmp_path / "new").exists()


def hold_in_another_process(path):
  """Starts a process that holds a lock until its input ends."""
  script = f"""
import sys
from iddpm_tf.utils import files
with files.owned({str(path)!r}, "model_dir"):
  print("held", flush=True)
  sys.stdin.read()
"""
  process = subprocess.Popen(
    [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
  )
  assert process.stdout.readline() == "held\n"
  return process


def test_a_lock_names_its_owner_and_ends_with_its_process(tmp_path):
  lock = tmp_path / ".lock"
  process = hold_in_another_process(lock)
  message = (
    f"^model_dir: expected a folder that no other process writes to, received {tmp_path}, which "
    f"process {process.pid} on {socket.gethostname()} uses"
  )
  with pytest.raises(settings.InputError, match=message), files.owned(lock, "model_dir"):
    pass
  process.kill()
  process.wait()
  assert lock.exists()
  with files.owned(lock, "model_dir"):
    assert json.loads(lock.read_text())["pid"] == os.getpid()
  assert not lock.exists()


@pytest.mark.parametrize(
  "host, pid, taken",
  [
    ("elsewhere", 1, True),
    (socket.gethostname(), 1, True),
    (socket.gethostname(), 2**22 + 1, False),  # Above the largest number of a process.
    (None, 0, False),
  ],
)
def test_without_locks_the_file_says_whether_its_process_runs(
  tmp_path, monkeypatch, host, pid, taken
):
  def flock(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

  monkeypatch.setattr(fcntl, "flock", flock)
  lock = tmp_path / ".lock"
  lock.write_text(json.dumps({"host": host, "pid": pid}) if host else "{")
  if taken:
    message = f"process {pid} on {host} uses"
    with pytest.raises(settings.InputError, match=message), files.owned(lock, "model_dir"):
      pass
    assert lock.exists()
  else:
    with files.owned(lock, "model_dir"):
      pass


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
  """The content, then the name, then the folder: whatever a power loss leaves is whole."""
  calls = []
  fsync, replace = os.fsync, os.replace

  def note_fsync(descriptor):
    calls.append(("fsync", os.readlink(f"/proc/self/fd/{descriptor}")))
    fsync(descriptor)

  def note_replace(source, target):
    calls.append(("replace", str(target)))
    replace(source, target)

  monkeypatch.setattr(os, "fsync", note_fsync)
  monkeypatch.setattr(os, "replace", note_replace)
  files.write_text(tmp_path / "a.txt", "text", sole_writer=True)
  assert calls == [
    ("fsync", str(tmp_path / ".part-a.txt")),
    ("replace", str(tmp_path / "a.txt")),
    ("fsync", str(tmp_path)),
  ]


@pytest.mark.parametrize(
  "error, of_disk, reason",
  [
    (OSError(errno.ENOSPC, "No space left on device"), True, "No space left on device"),
    (
      tf.errors.ResourceExhaustedError(None, None, "/a/b; No space left on device [Op:SaveV2]"),
      True,
      "No space left on device",
    ),
    (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating"), False, "OOM when"),
    (ValueError("one\ntwo"), False, "one"),
  ],
)
def test_errors_of_the_disk(error, of_disk, reason):
  assert files.is_of_disk(error) == of_disk
  assert files.reason_of(error).startswith(reason)
