"""Files that appear whole or not at all."""

import contextlib
import pathlib
import subprocess
import sys

import pytest

from iddpm_tf.utils import files


def test_writers_at_once_leave_one_of_their_files_and_nothing_else(tmp_path):
  path = tmp_path / "a.txt"
  with contextlib.ExitStack() as writers:
    temporaries = [writers.enter_context(files.whole(path)) for _ in range(3)]
    assert len(set(temporaries)) == 3 and not path.exists()
    for i, temporary in enumerate(temporaries):
      temporary.write_text(str(i))
  assert path.read_text() == "0"  # Its block ends last.
  assert [path] == [*tmp_path.iterdir()]


def test_what_fails_leaves_the_file_that_was_there(tmp_path):
  path = tmp_path / "a.npz"
  path.write_text("before")
  with pytest.raises(OSError, match="full"), files.whole(path) as temporary:
    assert (temporary.parent, temporary.suffix) == (path.parent, path.suffix)
    temporary.write_text("half")
    raise OSError("full")
  assert path.read_text() == "before"
  assert [path] == [*tmp_path.iterdir()]


def test_a_workspace_is_swept_of_those_of_processes_that_were_killed(tmp_path):
  killed = subprocess.Popen(
    [
      sys.executable,
      "-c",
      "import sys, time; from iddpm_tf import atomic\n"
      "with files.workspace(sys.argv[1]) as it: (it / 'a').touch(); print(it, flush=True); time.sleep(60)",
      str(tmp_path),
    ],
    stdout=subprocess.PIPE,
    text=True,
  )
  left = pathlib.Path(killed.stdout.readline().strip())
  with files.workspace(tmp_path) as ours:
    assert (left / "a").exists()  # It lives.
    killed.kill()
    killed.wait()
    killed.stdout.close()
    with files.workspace(tmp_path) as other:
      assert not left.exists() and ours.exists() and other != ours
      other.rename(tmp_path / "kept")
  assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_folder_is_held_by_one_process(tmp_path):
  with files.held(tmp_path):
    hold = "import sys; from iddpm_tf import atomic\nwith files.held(sys.argv[1]): pass"
    other = subprocess.run(
      [sys.executable, "-c", hold, str(tmp_path)], capture_output=True, text=True, check=False
    )
  assert other.returncode == 1 and "that no other process writes to" in other.stderr
  with files.held(tmp_path):
    pass
