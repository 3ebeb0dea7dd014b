"""The built package: what it holds, and that it works from any folder."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(name="package", scope="module")
def fixture_package(tmp_path_factory):
  """The folder of the packages as a wheel would hold them."""
  folder = tmp_path_factory.mktemp("build")
  command = [sys.executable, "setup.py", "-q", "build", "-b", folder / "temporary"]
  subprocess.run([*command, "--build-lib", folder / "lib"], cwd=ROOT, check=True)
  return folder / "lib"


def run(package, *arguments, cwd):
  """Runs Python with the built package in place of the working copy; returns the process."""
  return subprocess.run(
    [sys.executable, *arguments],
    cwd=cwd,
    env=os.environ | {"PYTHONPATH": str(package)},
    capture_output=True,
    text=True,
    check=False,
  )


def test_all_files_that_the_program_reads_are_in_it(package):
  for pattern in (
    "iddpm_tf/py.typed",
    "iddpm_tf/evaluation/*.npz",
    "iddpm_tf/serving/server/page.html",
    "iddpm_tf/serving/templates/*",
  ):
    expected = {path.relative_to(ROOT) for path in ROOT.glob(pattern) if path.is_file()}
    assert expected and expected == {path.relative_to(package) for path in package.glob(pattern)}
  flagfiles = {path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.flags")}
  built = package / "iddpm_tf"
  assert flagfiles == {path.relative_to(built) for path in built.rglob("*.flags")}


def test_all_modules_are_in_it_and_no_tests(package):
  for name in ("iddpm_tf", "trainers"):
    expected = {path.relative_to(ROOT) for path in (ROOT / name).rglob("*.py")}
    assert expected == {path.relative_to(package) for path in (package / name).rglob("*.py")}
  assert {path.name for path in package.iterdir()} == {"iddpm_tf", "trainers"}


def test_flagfiles_are_found_from_any_folder(package, tmp_path):
  code = (
    "import iddpm_tf; from iddpm_tf.config import Config; print(iddpm_tf.__file__); "
    "config = Config.from_flagfile('configs/cifar10.flags'); "
    "print(config.data.dataset, config.diffusion.objective)"
  )
  process = run(package, "-c", code, cwd=tmp_path)
  assert process.stdout.splitlines() == [
    str(package / "iddpm_tf/__init__.py"),
    "cifar10 hybrid",
  ], process.stderr


def test_commands_run_from_any_folder(package, tmp_path):
  process = run(
    package,
    "-m",
    "trainers.train",
    "--flagfile=configs/digits.flags",
    "--batchsize=3",
    cwd=tmp_path,
  )
  assert (process.returncode, process.stdout) == (2, "")
  assert process.stderr == (
    "train: --batchsize: there is no such flag; did you mean --batch_size?\n"
  )
