"""Inspection: what is reported of pictures and of records."""

import json

import numpy as np
from PIL import Image
import pytest

from iddpm_tf import settings
from iddpm_tf.config import DataConfig
from iddpm_tf.data import decoding
from iddpm_tf.data import inspection
from iddpm_tf.data.records import preparation
from iddpm_tf.data.records import statistics as statistics_lib


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


def fixed(size, seed=0):
  return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def test_everything_that_a_folder_really_holds_is_reported(tmp_path):
  folder = tmp_path / "pictures"
  for name in ("Training/1", "Training/2", "Training/10", "valid/2", "TEST/10"):
    (folder / name).mkdir(parents=True)
  exif = Image.Exif()
  exif[0x0112] = 6
  Image.fromarray(fixed((9, 12, 3), 1)).save(folder / "Training/1/turned.jpg", exif=exif)
  Image.fromarray(fixed((9, 9, 4), 2)).save(folder / "Training/2/transparent.png")
  Image.fromarray(fixed((9, 9), 3).astype(np.uint16) * 16).save(folder / "Training/10/deep.png")
  Image.fromarray(fixed((9, 9), 4)).save(folder / "Training/10/grey.bmp")
  Image.fromarray(fixed((9, 9, 3), 5)).save(folder / "valid/2/a.png")
  Image.fromarray(fixed((9, 9, 3), 5)).save(folder / "TEST/10/copy.png")
  (folder / "Training/10/scan.tif").write_text("x")
  reports = inspection.inspect(config(folder))
  assert list(reports) == ["train", "val", "test"]
  lines = text(reports)
  for expected in (
    "train: 4 pictures of folder, 4 of which can be read",
    "splits: train is Training, val is valid, test is TEST; val is for choosing",
    "modes: RGB 1, I;16 1, L 1, RGBA 1",
    "channels: 3 (colour 2, grey 2)",
    "to 4080 in 1 pictures of 16 bits",
    "in 3 pictures of 8 bits",
    "EXIF orientations: 1 of 6; turned upright",
    "transparent: 1; laid over white",
    "labels: 0 1: 1, 1 2: 1, 2 10: 2",
    "near-duplicates: 1 (test/10/copy.png like val/2/a.png)",
    "other files, ignored: 1 .tif (10/scan.tif); TIFF is not read (1 file): convert it, for",
    "note: pictures of 16 bits have values up to 4080, of which 16 of 256 levels are left; "
    "max_value=4080 makes use of all",
  ):
    assert expected in lines, (expected, lines)
  content = json.loads(inspection.write(reports, tmp_path / "out")[0].read_text())["train"]
  assert content["orientations"] == {"6": 1} and content["transparent"] == 1
  assert content["bits"] == {"8": 3, "16": 1} and content["ranges"]["16"][1] == 4080
  assert content["colours"] == {"colour": 2, "grey": 2} and content["channels"] == 3
  assert content["class_names"] == ["1", "2", "10"] and content["labels"]["2"] == 2
  assert content["sizes"]["12x9"] == 1  # Upright.
  assert content["notes"] and content["layout"].startswith("splits: ")


def test_what_is_done_with_oddities_is_what_the_settings_say(tmp_path):
  folder = tmp_path / "pictures"
  folder.mkdir()
  exif = Image.Exif()
  exif[0x0112] = 3
  Image.fromarray(fixed((9, 9, 4))).save(folder / "0.png", exif=exif)
  Image.fromarray(fixed((9, 9), 3).astype(np.uint16) * 16).save(folder / "1.png")
  plain = text(inspection.inspect(config(folder, exif_orientation=False, background="none")))
  assert "1 of 3; ignored" in plain and "transparent: 1; ignored" in plain
  assert "transparent: 1; kept" in text(inspection.inspect(config(folder, channels=4)))
  assert "laid over 1,2,3" in text(inspection.inspect(config(folder, background="1,2,3")))
  assert "note: " not in text(inspection.inspect(config(folder, max_value=4095)))
  clipped = text(inspection.inspect(config(folder, max_value=1000)))
  assert "and those above max_value=1000 become white" in clipped


@pytest.mark.parametrize("image_size", [0, 6])
def test_preparation_counts_what_inspection_counts(tmp_path, image_size):
  (tmp_path / "pictures").mkdir()
  exif = Image.Exif()
  exif[0x0112] = 8
  for i in range(12):
    picture = Image.fromarray(fixed((9, 9, 4), i))
    picture.convert(("RGB", "RGBA", "L", "LA", "P", "1")[i % 6]).save(
      tmp_path / f"pictures/{i}.png", exif=exif if i % 2 else None
    )
  data = config(tmp_path / "pictures", image_size=image_size)
  preparation.prepare(data, tmp_path / "out", shard_size=5)
  inspected = inspection.inspect(data)["train"]
  prepared = inspection.inspect(config(tmp_path / "out", "records"))["train"]
  assert prepared.statistics.to_json() == inspected.statistics.to_json()
  assert prepared.channels == inspected.channels == 3
  assert prepared.treatment == inspected.treatment and prepared.shown.shape == inspected.shown.shape


def deep(bits, least, greatest, mode="I;16"):
  """Returns the statistics of one picture of 16 bits."""
  pixels = np.zeros([1, 1, 3], np.uint8)
  counts = statistics_lib.Statistics()
  decoded = decoding.Decoded(
    pixels, 1, 1, mode, "PNG", False, True, 1, False, bits, least, greatest
  )
  counts.add(decoding.Outcome("x", 0, decoded, ""))
  return counts


def test_a_note_says_where_most_levels_of_16_bits_are_lost():
  assert deep(16, 0, 65535).notes(0) == deep(16, 0, 40000).notes(0) == deep(8, 0, 9).notes(0) == []
  assert deep(16, 5, 4095).notes(4095) == []
  (note,) = deep(16, 5, 4095).notes(0)
  assert note.endswith(
    "up to 4095, of which 16 of 256 levels are left; max_value=4095 makes use of all"
  )
  (note,) = deep(16, 5, 4095).notes(60000)
  assert "of which 18 of 256 levels are left" in note
  (note,) = deep(16, 5, 4095).notes(1000)
  assert note.endswith("up to 4095, and those above max_value=1000 become white")
  # A value of white does not help where Pillow reads 8 bits only.
  (note,) = deep(16, 0, 4095, "RGB").notes(4095)
  assert "16 bits per channel" in note and "max_value" not in note
  both = deep(16, 0, 4095)
  both.merge(deep(16, 0, 65535, "RGB"))
  assert len(both.notes(0)) == 1 and both.bits == {"16": 1, "16 per channel": 1}
