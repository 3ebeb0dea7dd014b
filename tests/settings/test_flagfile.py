"""Flagfiles: where they are found, what their lines mean, and what is wrong with them."""

import pathlib

import pytest

from iddpm_tf import settings
from iddpm_tf.settings import flagfile

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


@pytest.fixture(name="write", autouse=True)
def fixture_write(tmp_path, monkeypatch):
  """write(name, *lines): writes a file below the working folder, which is an empty one."""
  working = tmp_path / "working"
  working.mkdir()
  monkeypatch.chdir(working)

  def write(name, *lines):
    path = working / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))
    return path

  return write


def expanded(*texts):
  return [argument.text for argument in flagfile.expand(texts)]


def assert_refused(message, *texts):
  with pytest.raises(settings.InputError) as error:
    flagfile.expand(texts)
  assert str(error.value) == message


def test_lines_stand_in_the_place_of_the_flagfile(write):
  write("a.flags", "# A comment.", "", "  --x=1  ", "// Another one.", "--name=a # b")
  assert expanded("--x=0", "--flagfile=a.flags", "--x=2") == [
    "--x=0",
    "--x=1",
    "--name=a # b",
    "--x=2",
  ]
  assert expanded("--flagfile", "a.flags", "--x=2") == expanded("--flagfile=a.flags", "--x=2")
  assert expanded("-flagfile=a.flags") == expanded("--flagfile=a.flags")


def test_lines_know_their_place(write):
  write("a.flags", "# A comment.", "--x=1")
  path = write("b.flags", "--flagfile=a.flags")
  assert [argument.where for argument in flagfile.read("a.flags")] == ["a.flags, line 2"]
  (argument,) = flagfile.expand(["--flagfile=b.flags"])
  assert argument == ("--x=1", f"{path.parent / 'a.flags'}, line 2")


def test_the_paths_that_a_command_line_names(write):
  write("b.flags", "--flagfile=a.flags")
  texts = ("--flagfile=b.flags", "--x=1", "--flagfile", "configs/c.flags")
  assert flagfile.named_by(texts) == ["b.flags", "configs/c.flags"]


@pytest.mark.parametrize(
  "nested", ("inner.flags", "parts/inner.flags", "configs/parts/inner.flags")
)
def test_a_nested_flagfile_is_found_from_any_working_folder(write, monkeypatch, nested):
  """Beside the file that names it, or from one of the folders above that file."""
  outer = write("project/configs/parts/outer.flags", f"--flagfile={nested}")
  write("project/configs/parts/inner.flags", "--x=1")
  assert expanded(f"--flagfile={outer}") == ["--x=1"]
  assert expanded("--flagfile=project/configs/parts/outer.flags") == ["--x=1"]
  monkeypatch.chdir("project/configs")
  assert expanded("--flagfile=parts/outer.flags") == ["--x=1"]


def test_the_file_beside_goes_before_the_working_folder(write):
  write("project/outer.flags", "--flagfile=inner.flags")
  write("project/inner.flags", "--x=beside")
  write("inner.flags", "--x=working folder")
  assert expanded("--flagfile=project/outer.flags") == ["--x=beside"]


def test_a_nested_flagfile_can_be_in_the_working_folder(write, tmp_path):
  (tmp_path / "outer.flags").write_text("--flagfile=working_only.flags\n")
  write("working_only.flags", "--x=1")
  assert expanded("--flagfile=../outer.flags") == ["--x=1"]


def test_flagfiles_of_the_package_are_found_from_any_folder(write):
  lines = expanded("--flagfile=configs/cifar10.flags")
  assert "--dataset=cifar10" in lines and "--objective=hybrid" in lines
  write("configs/cifar10.flags", "--dataset=mine")
  assert expanded("--flagfile=configs/cifar10.flags") == ["--dataset=mine"]
  write("my.flags", "--flagfile=configs/parts/vlb.flags")
  assert "--objective=vlb" in expanded("--flagfile=my.flags")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.flags")), ids=lambda path: path.stem)
def test_all_flagfiles_of_the_project_can_be_read(path):
  assert all(argument.text.startswith("--") for argument in flagfile.read(path))


def test_the_same_file_twice_is_no_cycle(write):
  write("a.flags", "--x=1")
  write("b.flags", "--flagfile=a.flags", "--flagfile=a.flags")
  assert expanded("--flagfile=b.flags", "--flagfile=a.flags") == ["--x=1"] * 3


def test_wrong_flagfiles(write, tmp_path):
  folder = tmp_path / "working"
  assert_refused("flagfile: expected a file that exists, received no.flags", "--flagfile=no.flags")
  assert_refused("flagfile: expected a path, received nothing", "--flagfile=")
  assert_refused(
    "flagfile: expected a file that can be read, received . (Is a directory)", "--flagfile=."
  )
  assert_refused("flagfile: expected a path, received nothing", "--flagfile")
  write("missing.flags", "", "--flagfile=no.flags")
  assert_refused(
    "flagfile: expected a file that exists, received no.flags (missing.flags, line 2)",
    "--flagfile=missing.flags",
  )
  write("unnamed.flags", "--flagfile")
  assert_refused(
    "flagfile: expected a path, received nothing (unnamed.flags, line 1)",
    "--flagfile=unnamed.flags",
  )
  write("a.flags", "--flagfile=b.flags")
  write("b.flags", "--x=1", "--flagfile=a.flags")
  assert_refused(
    f"flagfile: expected a file that does not lead back to itself, received {folder}/a.flags "
    f"({folder}/b.flags, line 2)",
    "--flagfile=a.flags",
  )
  write("wrong.flags", "--x=1", "lr=3")
  assert_refused(
    "wrong.flags, line 2: expected a setting of the form --name=value, received 'lr=3'",
    "--flagfile=wrong.flags",
  )
  (folder / "binary.flags").write_bytes(b"\xff\xfe\x00")
  assert_refused(
    "flagfile: expected a file that can be read, received binary.flags (not UTF-8 text)",
    "--flagfile=binary.flags",
  )
  assert_refused(
    f"flagfile: expected a file that can be read, received {folder} (Is a directory)",
    f"--flagfile={folder}",
  )
