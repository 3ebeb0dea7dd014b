"""The command prepare_data, and what training says of wrong data."""

import dataclasses
import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
from PIL import Image
import pytest

from iddpm_tf.config import DataConfig
from iddpm_tf.data import sources
from tests.trainers import conftest
from trainers import prepare_data

ROOT = pathlib.Path(__file__).parents[2]


@dataclasses.dataclass
class Result:
  status: int
  out: str
  err: str


@pytest.fixture(name="prepare")
def fixture_prepare(capfd):
  """prepare(*flags) -> `Result`."""

  def prepare(*flags):
    capfd.readouterr()
    status = prepare_data.COMMAND.run(["prepare_data", *map(str, flags)])
    return Result(status, *capfd.readouterr())

  return prepare


@pytest.fixture(name="pictures")
def fixture_pictures(tmp_path):
  """40 pictures of two classes for training and 6 for test."""
  rng = np.random.default_rng(0)
  for split, count in (("train", 40), ("test", 6)):
    for i in range(count):
      path = tmp_path / "pictures" / split / ("ant", "bee")[i % 2] / f"{i:03d}.png"
      path.parent.mkdir(parents=True, exist_ok=True)
      size = rng.integers(9, 20, 2)
      Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
  return tmp_path / "pictures"


def flags_for(pictures, output, *flags):
  """Returns the flags that prepare pictures at a size of 8 pixels."""
  return (
    "--dataset=folder",
    f"--data_dir={pictures}",
    "--image_size=8",
    f"--output_dir={output}",
    *flags,
  )


def assert_refused(result, *words):
  """Requires an error in one line, which the end of a progress bar may precede."""
  assert result.status == 2 and "Traceback" not in result.err
  lines = [line for line in result.err.splitlines() if "prepare_data: " in line]
  assert len(lines) == 1, result.err
  for word in words:
    assert word in lines[0]


def contents(folder):
  return {
    str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
  }


def test_prepares_both_splits_and_says_how_to_train_on_them(prepare, pictures, tmp_path):
  result = prepare(*flags_for(pictures, tmp_path / "out", "--shard_size=16"))
  assert result.status == 0
  assert (
    "train: 40 pictures of folder, 2 classes" in result.out and "out/test: 6 images" in result.out
  )
  assert f"--dataset=records --data_dir={tmp_path / 'out'}" in result.out
  raw = DataConfig(dataset="folder", data_dir=str(pictures), image_size=8)
  for split in ("train", "test"):
    records = sources.load(DataConfig(dataset="records", data_dir=str(tmp_path / "out")), split)
    decoded = sources.load(raw, split)
    np.testing.assert_array_equal(records.images[:], decoded.images)
    np.testing.assert_array_equal(records.labels, decoded.labels)
  assert len(list((tmp_path / "out/train").glob("images-*-of-00003.npy"))) == 3
  before = contents(tmp_path / "out")
  again = prepare(*flags_for(pictures, tmp_path / "out", "--shard_size=16"))
  assert again.status == 0 and "is finished" in again.out and contents(tmp_path / "out") == before


def test_without_beam_its_runner_is_refused_in_one_line(prepare, pictures, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "apache_beam", None)
  result = prepare(*flags_for(pictures, tmp_path / "out", "--runner=direct"))
  assert_refused(result, "--runner: expected the package apache-beam", "iddpm_tf[beam]")
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
  "flags, message",
  [
    (("--runner=direct", "--inspect"), "--runner: cannot be combined with --inspect"),
    (("--beam_options=streaming",), "--beam_options: requires --runner"),
    (("--runner=direct", "--beam_options=--streaming"), "--beam_options: expected NAME or"),
    (("--runner=direct", "--beam_options='a"), "--beam_options: expected options as for a shell"),
    (("--runner=direct", "--workers=-1"), "--workers: expected a number of at least 0"),
  ],
)
def test_wrong_flags_of_beam_are_refused_in_one_line(prepare, pictures, tmp_path, flags, message):
  assert_refused(prepare(*flags_for(pictures, tmp_path / "out", *flags)), message)


def test_finished_records_that_are_damaged_are_made_again(prepare, pictures, tmp_path):
  flags = flags_for(pictures, tmp_path / "out", "--shard_size=16")
  assert prepare(*flags).status == 0
  before, path = contents(tmp_path / "out"), tmp_path / "out/train/images-00001-of-00003.npy"
  path.write_bytes(path.read_bytes()[:-9])
  result = prepare(*flags)
  assert (
    result.status == 0
    and f"is damaged: 1 of its shards or their index (the first: {path}" in result.out
  )
  assert "resuming" in result.out and contents(tmp_path / "out") == before


def test_one_split_and_no_size(prepare, pictures, tmp_path):
  assert_refused(
    prepare("--dataset=folder", f"--data_dir={pictures}", f"--output_dir={tmp_path / 'out'}"),
    "--image_size: expected a size",
    "their sizes differ",
  )
  assert prepare(*flags_for(pictures, tmp_path / "new", "--splits=test")).status == 0
  assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
    "index.json",
    "plan.json",
    "test",
  ]


def test_unreadable_pictures_are_listed_and_then_skipped(prepare, pictures, tmp_path):
  (pictures / "train/ant/004.png").write_bytes(b"")
  (pictures / "test/bee/003.png").write_text("hello")
  result = prepare(*flags_for(pictures, tmp_path / "out"))
  assert_refused(
    result, "--unreadable: expected 'skip'", "2 pictures cannot be read", "ant/004.png: is empty"
  )
  listed = [
    "train/ant/004.png: is empty",
    "test/bee/003.png: is not a picture (its content is not PNG, JPEG, WebP, GIF or BMP)",
  ]
  assert [
    line for line in result.out.splitlines() if line.startswith(("train/", "test/"))
  ] == listed
  assert (tmp_path / "out/train/unreadable.txt").read_text() == "ant/004.png: is empty\n"
  assert not (tmp_path / "out/index.json").exists()
  made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.npy")}
  result = prepare(*flags_for(pictures, tmp_path / "out", "--unreadable=skip"))
  assert (
    result.status == 0 and all(line in result.out for line in listed) and "39 images" in result.out
  )
  assert made == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.npy")}
  index = json.loads((tmp_path / "out/index.json").read_text())
  assert index["splits"]["train"]["unreadable"] == [["ant/004.png", "is empty"]]


@pytest.mark.parametrize(
  "flags, words",
  [
    (("--output_dir=",), ("--output_dir",)),
    (("--splits=train,validation",), ("--splits", "train,validation")),
    (("--splits=train,train",), ("--splits",)),
    (("--shard_size=-1",), ("--shard_size", "-1")),
    (("--workers=-2",), ("--workers", "-2")),
    (("--unreadable=maybe",), ("--unreadable", "maybe")),
    (("--dataset=photos",), ("--dataset", "photos")),
    (("--dataset=records",), ("--dataset", "records")),
    (("--data_dir=/nowhere",), ("--data_dir", "/nowhere", "does not exist")),
    (("--data_dir=",), ("nothing",)),
    (("--dataset=lsun",), ("LMDB",)),
    (("--dataset=imagenet_npz",), ("train_data_batch_1.npz",)),
    (("--output_dir=/proc/none",), ("--output_dir: ", "/proc/none")),
    (("--image_size=-3",), ("--image_size", "-3")),
    (("--folder_labels=prefix",), ("--folder_labels", "CLASS_NAME.png")),
  ],
)
def test_refuses(prepare, pictures, tmp_path, flags, words):
  for mode in ((), ("--inspect",)):
    # Records can be inspected, and the folder of a report is made after the inspection.
    if not mode or words[0] not in ("--dataset", "--output_dir: "):
      assert_refused(prepare(*flags_for(pictures, tmp_path / "out", *flags, *mode)), *words)
  assert not (tmp_path / "out").exists()


def start(*flags):
  """Starts the command in a process of its own."""
  return subprocess.Popen(
    [sys.executable, "-m", "trainers.prepare_data", *map(str, flags)],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def wait_for(path, process):
  while not path.exists():
    assert process.poll() is None, process.communicate()
    time.sleep(0.005)


@pytest.mark.parametrize("number, status", [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_a_killed_run_continues_to_the_same_bytes(prepare, pictures, tmp_path, number, status):
  large = np.random.default_rng(0).integers(0, 256, (250, 250, 3), dtype=np.uint8)
  for i in range(80):
    Image.fromarray(np.roll(large, i)).save(pictures / f"train/ant/{i:03d}.png", compress_level=1)
  (pictures / "train/ant/009.png").write_bytes(b"hello")
  flags = ("--shard_size=8", "--unreadable=skip", "--workers=2")
  process = start(*flags_for(pictures, tmp_path / "out", *flags))
  wait_for(tmp_path / "out/train/shard-00003-of-00013.json", process)
  process.send_signal(number)
  out, err = process.communicate(timeout=60)
  assert process.returncode == status and "Traceback" not in err
  assert ("the same command continues" in out) == (number != signal.SIGKILL)
  assert not (tmp_path / "out/index.json").exists()
  resumed = prepare(*flags_for(pictures, tmp_path / "out", *flags))
  assert resumed.status == 0 and "resuming" in resumed.out
  assert prepare(*flags_for(pictures, tmp_path / "whole", *flags)).status == 0
  assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_inspection_prints_and_writes_a_report(prepare, pictures, tmp_path):
  result = prepare(*flags_for(pictures, tmp_path / "out", "--inspect"))
  assert result.status == 0 and "train: 40 pictures of folder" in result.out
  names = ["inspection.json", "inspection.png"]
  assert result.out.splitlines()[-2:] == [str(tmp_path / "out" / name) for name in names]
  assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


def test_inspection_of_records_verifies_their_checksums(prepare, pictures, tmp_path):
  assert prepare(*flags_for(pictures, tmp_path / "out", "--shard_size=16")).status == 0
  flags = (
    "--dataset=records",
    f"--data_dir={tmp_path}/out",
    f"--output_dir={tmp_path}/report",
    "--inspect",
  )
  result = prepare(*flags)
  assert result.status == 0 and "train: all 6 files have their checksums" in result.out
  path = tmp_path / "out/train/images-00001-of-00003.npy"
  path.write_bytes(path.read_bytes()[:-1] + b"?")
  assert_refused(prepare(*flags), str(path), "SHA-256")


def test_training_refuses_data_that_is_wrong(run, prepare, pictures, tmp_path):
  """Training prints one line, and makes no model folder."""
  out = tmp_path / "out"
  assert prepare(*flags_for(pictures, out, "--shard_size=16")).status == 0
  for i in range(10):
    (tmp_path / "one/ant").mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8)).save(tmp_path / f"one/ant/{i}.png")
  (tmp_path / "empty").mkdir()
  broken = pictures / "test/ant/000.png"
  broken.write_bytes(broken.read_bytes()[:50])

  def refused(*flags):
    result = run("train", *conftest.SMALL, *flags, f"--model_dir={tmp_path / 'run'}")
    assert result.status == 2 and result.err.count("\n") == 1, result.err
    assert not (tmp_path / "run").exists()
    return result.err

  records = ("--dataset=records", f"--data_dir={out}")
  assert "--image_size: expected 8x8" in refused(*records, "--image_size=16")
  assert "--channel_multipliers: expected" in refused(
    "--dataset=folder",
    f"--data_dir={tmp_path}/one",
    "--image_size=12",
    "--channel_multipliers=1,1,1,1",
  )
  assert "--class_conditional: expected" in refused(
    "--dataset=folder", f"--data_dir={tmp_path}/one"
  )
  empty = refused("--dataset=folder", f"--data_dir={tmp_path}/empty")
  assert "received a folder without files (hidden ones are ignored)" in empty
  assert "000.png, which is truncated" in refused(
    "--dataset=folder", f"--data_dir={pictures}/test", "--image_size=8"
  )
  path = out / "train/images-00001-of-00003.npy"
  path.write_bytes(path.read_bytes()[:-9])
  assert "images-00001-of-00003.npy" in refused(*records)
  (out / "index.json").write_text("{")
  assert "index.json" in refused(*records)
