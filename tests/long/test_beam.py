"""Apache Beam's local runner makes the records of one process, and continues where it was stopped.

python -m pytest -s tests/long/test_beam.py
"""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
from PIL import Image
import pytest

from tests.data.records.small_records import contents

pytest.importorskip("apache_beam", reason="requires the extra beam")

ROOT = pathlib.Path(__file__).parents[2]
PICTURES = 600


@pytest.fixture(name="pictures", scope="module")
def fixture_pictures(tmp_path_factory):
  """Pictures of several sizes in two classes, some of which are broken, for training and test."""
  folder, rng = tmp_path_factory.mktemp("beam") / "pictures", np.random.default_rng(0)
  for i in range(PICTURES):
    path = folder / ("test" if i % 10 == 0 else "train") / ("ant", "bee")[i % 2] / f"{i:04d}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    if i % 97 == 5:
      path.write_bytes(b"broken")
    else:
      size = rng.integers(60, 400, 2)
      Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
  return folder


def command(pictures, output, *flags):
  return [
    sys.executable,
    *("-m", "trainers.prepare_data", "--dataset=folder", f"--data_dir={pictures}"),
    *("--image_size=32", "--resize=area", "--shard_size=25", "--unreadable=skip"),
    *(f"--output_dir={output}", *flags),
  ]


def prepare(pictures, output, *flags):
  """Runs the command, and returns its process, which has ended."""
  start = time.monotonic()
  done = subprocess.run(
    command(pictures, output, *flags), cwd=ROOT, capture_output=True, text=True, check=False
  )
  print(f"{' '.join(flags) or 'one process'}: {time.monotonic() - start:.1f} s")
  return done


@pytest.fixture(name="expected", scope="module")
def fixture_expected(pictures, tmp_path_factory):
  """The files that one process makes without Beam."""
  output = tmp_path_factory.mktemp("alone") / "out"
  done = prepare(pictures, output)
  assert done.returncode == 0, done.stderr
  return contents(output)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_files_are_those_of_one_process(pictures, expected, tmp_path, workers):
  done = prepare(pictures, tmp_path / "out", "--runner=direct", f"--workers={workers}")
  assert done.returncode == 0, done.stderr
  files = contents(tmp_path / "out")
  assert sorted(files) == sorted(expected) and files == expected
  assert len([name for name in files if "images-" in name]) == 25
  assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_stopped_command_continues(pictures, expected, tmp_path, number):
  """The workers of a killed process end by themselves."""
  output = tmp_path / "out"
  process = subprocess.Popen(
    command(pictures, output, "--runner=direct", "--workers=2"),
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  deadline = time.monotonic() + 120
  while not list(output.glob("train/shard-*")):
    assert process.poll() is None and time.monotonic() < deadline
    time.sleep(0.01)
  process.send_signal(number)
  text = process.communicate(timeout=60)[0]
  assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), text
  assert "Traceback" not in text, text
  assert not (output / "index.json").exists()
  kept = [path.stat().st_mtime_ns for path in sorted(output.glob("*/shard-*"))]
  done = prepare(pictures, output, "--runner=direct", "--workers=2")
  assert done.returncode == 0 and "resuming" in done.stdout, done.stderr
  assert contents(output) == expected
  assert set(kept) <= {path.stat().st_mtime_ns for path in output.glob("*/shard-*")}


def test_a_lost_worker_is_one_line(pictures, expected, tmp_path):
  output = tmp_path / "out"
  process = subprocess.Popen(
    command(pictures, output, "--runner=direct", "--workers=2"),
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  while not list(output.glob("train/shard-*")):
    assert process.poll() is None
    time.sleep(0.01)
  # Whole lines, however long the path of Python is.
  ps = ["ps", "-ww", "-eo", "pid,args"]
  listing = subprocess.run(ps, capture_output=True, text=True, check=True)
  workers = [
    int(line.split()[0])
    for line in listing.stdout.splitlines()
    if "sdk_worker_main" in line and "/bin/sh" not in line and is_below(line, process.pid)
  ]
  assert len(workers) == 2
  os.kill(workers[0], signal.SIGKILL)
  text = process.communicate(timeout=60)[0]
  assert process.returncode == 2 and "Traceback" not in text, text
  assert "--runner: expected worker processes that stay until the end" in text
  assert prepare(pictures, output, "--runner=direct", "--workers=2").returncode == 0
  assert contents(output) == expected


def is_below(line, ancestor):
  """Returns whether a process, a line of `ps`, descends from another."""
  pid = int(line.split()[0])
  while pid > 1 and pid != ancestor:
    try:
      pid = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
      return False
  return pid == ancestor


def test_pictures_of_several_sizes_are_refused_in_one_line(pictures, tmp_path):
  done = prepare(pictures, tmp_path / "out", "--runner=direct", "--image_size=0")
  assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
  assert "--image_size: expected a size to bring all pictures to" in done.stderr


def test_an_unknown_runner_is_refused_in_one_line(pictures, tmp_path):
  done = prepare(pictures, tmp_path / "out", "--runner=Bunny")
  assert done.returncode == 2 and "Traceback" not in done.stderr
  assert "--runner: expected direct, or a runner of Apache Beam, received 'Bunny'" in done.stderr
  assert not (tmp_path / "out").exists()


def test_options_of_beam_reach_it(pictures, expected, tmp_path):
  done = prepare(
    pictures, tmp_path / "out", "--runner=FnApiRunner", "--beam_options=direct_num_workers=1"
  )
  assert done.returncode == 0, done.stderr
  assert contents(tmp_path / "out") == expected
