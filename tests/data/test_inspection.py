"""Inspection: what is reported of pictures and of records."""

import json

import numpy as np
from PIL import Image
import pytest

from iddpm_tf import settings
from iddpm_tf.config import DataConfig
from iddpm_tf.data import inspection
from iddpm_tf.data.records import preparation


@pytest.fixture(name="pictures")
def fixture_pictures(tmp_path):
  """40 pictures of two classes for training, of several sizes, and 6 for test."""
  rng = np.random.default_rng(0)
  for split, count in (("train", 40), ("test", 6)):
    for i in range(count):
      path = tmp_path / "pictures" / split / ("ant", "bee")[i % 2] / f"{i:03d}.png"
      path.parent.mkdir(parents=True, exist_ok=True)
      size = rng.integers(9, 20, 2)
      Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
  return tmp_path / "pictures"


def config(folder, dataset="folder", **values):
  return DataConfig(dataset=dataset, data_dir=str(folder), **values)


def text(reports):
  return "\n".join(
    line for split, report in reports.items() for line in inspection.lines(split, report)
  )


def test_pictures_of_several_sizes(pictures, tmp_path):
  (pictures / "train/ant/004.png").write_bytes(b"")
  (pictures / "train/notes.txt").write_text("x")
  Image.new("L", (50, 9), 200).save(pictures / "train/bee/x.jpg", format="GIF")
  reports = inspection.inspect(config(pictures))
  lines = text(reports)
  for expected in (
    "train: 41 pictures of folder, 40 of which can be read",
    "largest 9x50",
    "formats: PNG 39, GIF 1",
    "labels: 0 ant: 19, 1 bee: 21",
    "named as another format: 1 (bee/x.jpg)",
    "other files, ignored: 1 .txt (notes.txt)",
    "unreadable: 1\n    ant/004.png: is empty",
    "test: 6 pictures",
  ):
    assert expected in lines, expected
  report = reports["train"]
  assert report.unreadable == [["ant/004.png", "is empty"]] and report.shown.shape[0] == 40
  written = inspection.write(reports, tmp_path / "out")
  assert [path.name for path in written] == ["inspection.json", "inspection.png"]
  assert sorted(written) == sorted((tmp_path / "out").iterdir())
  content = json.loads(written[0].read_text())
  assert content["train"]["unreadable"] == [["ant/004.png", "is empty"]]
  assert content["test"]["readable"] == 6 and sum(content["train"]["sizes"].values()) == 40
  with Image.open(written[1]) as picture:
    assert picture.size == (2 + 8 * 66, 2 + 5 * 66)


def test_one_split_without_readable_pictures(tmp_path):
  (tmp_path / "pictures").mkdir()
  (tmp_path / "pictures/0.png").write_bytes(b"")
  reports = inspection.inspect(config(tmp_path / "pictures"), splits=("train",))
  assert "0 of which can be read" in text(reports)
  assert inspection.picture(reports["train"]) is None
  (path,) = inspection.write(reports, tmp_path / "out")
  assert path.name == "inspection.json"


def test_the_checksums_of_records_are_verified(pictures, tmp_path):
  preparation.prepare(config(pictures, image_size=8), tmp_path / "out", shard_size=16)
  records = config(tmp_path / "out", "records")
  reports = inspection.inspect(records)
  assert list(reports) == ["train", "test"] and "labels: 0 ant: 20, 1 bee: 20" in text(reports)
  assert reports["train"].shown.shape == (40, 8, 8, 3)
  path = tmp_path / "out/train/images-00001-of-00003.npy"
  path.write_bytes(path.read_bytes()[:-1] + b"?")
  with pytest.raises(settings.InputError, match=f"^{path}: .* SHA-256"):
    inspection.inspect(records)
  assert list(inspection.inspect(records, splits=("test",))) == ["test"]


def test_many_classes_are_summarised(tmp_path):
  for i in range(25):
    (tmp_path / f"pictures/{i:02d}").mkdir(parents=True)
    for j in range(1 + i % 3):
      Image.new("L", (8, 8)).save(tmp_path / f"pictures/{i:02d}/{j}.png")
  lines = text(inspection.inspect(config(tmp_path / "pictures")))
  assert "labels: 25 classes of 1 to 3 pictures, 2 in the median" in lines
