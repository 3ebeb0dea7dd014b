"""Records: what is written is what is read, wherever a run broke off; broken ones are named."""

import json
import os
import pathlib

import numpy as np
from PIL import Image
import pytest

from iddpm_tf.config import DataConfig
from iddpm_tf.data import decoding
from iddpm_tf.data import pipeline
from iddpm_tf.data import preparation
from iddpm_tf.data import records
from iddpm_tf.data import sources

COUNT = 23
BROKEN = (0, 7, 8, 9, 22)  # 8 to 11 are a shard of their own below: one picture is left of it.


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
  """23 pictures in two classes, five of them broken."""
  folder, rng = tmp_path / "pictures", np.random.default_rng(0)
  for i in range(COUNT):
    path = folder / ("ant" if i < 12 else "bee") / f"{i:02d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)).save(path)
    if i in BROKEN:
      path.write_bytes(b"" if i % 2 else b"hello")
  return folder


def config_of(folder, **settings):
  return DataConfig(**{"dataset": "folder", "data_dir": str(folder), "image_size": 4, **settings})


def prepare(folder, output, on_picture=lambda: None, shard_size=4, **settings):
  """Records of a folder's training split; {split: images}."""
  config = config_of(folder, **settings)
  output.mkdir(exist_ok=True)
  listings = {"train": sources.open_listing(config, "train")}
  with preparation.Preparation(
    config, listings, output, shard_size=shard_size, workers=2
  ).opened() as work:
    if work.is_finished:
      return None
    work.make_shards(on_picture)
    return work.write_index()


def contents(folder):
  return {
    str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
  }


def load(output, split="train", **settings):
  return sources.load(DataConfig(dataset="records", data_dir=str(output), **settings), split)


def refused(output, split="train", **settings):
  with pytest.raises(ValueError) as caught:
    load(output, split, **settings)
  assert "\n" not in str(caught.value)
  return str(caught.value)


def expected(folder):
  """Images and labels of the pictures that can be read."""
  listing = sources.open_listing(config_of(folder), "train")
  outcomes = decoding.outcomes(listing.pictures(0, COUNT), decoding.Form(4, "bicubic", 3))
  readable = [outcome for outcome in outcomes if outcome.decoded]
  return (
    np.stack([outcome.decoded.pixels for outcome in readable]),
    np.array([outcome.label for outcome in readable]),
  )


def test_records_are_the_readable_pictures_in_order(folder, tmp_path):
  assert prepare(folder, tmp_path / "out") == {"train": COUNT - len(BROKEN)}
  source = load(tmp_path / "out")
  images, labels = expected(folder)
  assert (
    source.images.shape == (18, 4, 4, 3)
    and source.images.dtype == np.uint8
    and len(source.images) == 18
  )
  np.testing.assert_array_equal(source.images[:], images)
  np.testing.assert_array_equal(source.labels, labels)
  assert source.num_classes == 2 and source.labels.dtype == np.int32


def test_records_are_indexed_as_an_array(folder, tmp_path):
  prepare(folder, tmp_path / "out")
  ours, images = load(tmp_path / "out").images, expected(folder)[0]
  rng = np.random.default_rng(0)
  for index in (
    rng.integers(0, 18, 50),
    np.arange(18)[::-1],
    np.array([-1, 0, -18]),
    np.array([], np.int64),
    slice(3, 9),
    slice(None, None, -5),
    slice(-4, None),
    [1, 1],
  ):
    np.testing.assert_array_equal(ours[index], images[index])
  ours[:2][...] = 0  # A copy: the file stays as it is.
  np.testing.assert_array_equal(ours[:2], images[:2])
  for index in ([18], [-19]):
    with pytest.raises(IndexError, match="positions below 18"):
      ours[index]  # pylint: disable=pointless-statement


def test_a_shard_stands_for_positions_whatever_is_left_out(folder, tmp_path):
  prepare(folder, tmp_path / "out")
  index = json.loads((tmp_path / "out/index.json").read_text())
  assert [shard["count"] for shard in index["splits"]["train"]["shards"]] == [3, 3, 2, 4, 4, 2]
  assert [name for name, _ in index["splits"]["train"]["unreadable"]] == [
    f"{'ant' if i < 12 else 'bee'}/{i:02d}.png" for i in BROKEN
  ]


def test_a_shard_of_nothing_readable(folder, tmp_path):
  for i in range(8, 12):
    (folder / f"ant/{i:02d}.png").write_bytes(b"")
  assert prepare(folder, tmp_path / "out") == {"train": 16}
  np.testing.assert_array_equal(load(tmp_path / "out").images[:], expected(folder)[0])


def test_batches_for_training_come_from_records(folder, tmp_path):
  prepare(folder, tmp_path / "out")
  images, labels = expected(folder)
  batches = pipeline.training_batches(load(tmp_path / "out"), batch_size=9, seed=0).take(2)
  seen = list(batches.as_numpy_iterator())
  pixels = np.rint((np.concatenate([batch["image"] for batch in seen]) + 1) * 127.5).astype(
    np.uint8
  )
  pairs = {(image.tobytes(), int(label)) for image, label in zip(images, labels)}
  assert {
    (image.tobytes(), int(label))
    for image, label in zip(pixels, np.concatenate([batch["label"] for batch in seen]))
  } == pairs


class Killed(BaseException):
  pass


@pytest.mark.parametrize("after", [0, 3, 4, 5, 17, 22])
def test_a_broken_off_run_goes_on_to_the_same_bytes(folder, tmp_path, monkeypatch, after):
  prepare(folder, tmp_path / "whole")
  done = 0

  def on_picture():
    nonlocal done
    done += 1
    if done > after:
      raise Killed

  with pytest.raises(Killed):
    prepare(folder, tmp_path / "out", on_picture)
  assert "has begun; the same command goes on" in refused(tmp_path / "out")
  # What SIGKILL would leave in the middle of a file.
  (tmp_path / "out/train/.images-00005-of-00006.npy.part").write_bytes(b"half")
  decoded = []
  decode = decoding.decode
  monkeypatch.setattr(
    decoding, "decode", lambda picture, form: decoded.append(picture.name) or decode(picture, form)
  )
  prepare(folder, tmp_path / "out")
  assert contents(tmp_path / "out") == contents(tmp_path / "whole")
  # Once more: the first that is readable, for its shape, and those that might have been mended.
  finished = after // 4 * 4
  names = [f"{'ant' if i < 12 else 'bee'}/{i:02d}.png" for i in range(finished)]
  again = [name for name in decoded[2:] if name in names]
  assert set(again) <= {names[i] for i in BROKEN if i < finished}


def test_a_lost_or_cut_shard_is_made_again(folder, tmp_path):
  prepare(folder, tmp_path / "whole")
  prepare(folder, tmp_path / "out")
  (tmp_path / "out/index.json").unlink()
  (tmp_path / "out/train/labels-00001-of-00006.npy").unlink()
  path = tmp_path / "out/train/images-00003-of-00006.npy"
  path.write_bytes(path.read_bytes()[:-1])
  (tmp_path / "out/train/shard-00005-of-00006.json").write_text("{")
  prepare(folder, tmp_path / "out")
  assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
  "name, size",
  [
    ("train/images-00003-of-00006.npy", 100),
    ("train/labels-00001-of-00006.npy", None),
    ("train/shard-00002-of-00006.json", None),
    ("index.json", 20),
  ],
)
def test_finished_records_that_are_damaged_are_made_again(folder, tmp_path, capsys, name, size):
  prepare(folder, tmp_path / "out")
  whole, path = contents(tmp_path / "out"), tmp_path / "out" / name
  if size is None:
    path.unlink()
  else:
    os.truncate(path, size)

  def on_picture():
    raise Killed

  if name != "index.json":
    with pytest.raises(Killed):
      prepare(folder, tmp_path / "out", on_picture)
    assert "is damaged: 1 of its shards" in capsys.readouterr().out
    assert not (tmp_path / "out/index.json").exists()
  assert prepare(folder, tmp_path / "out") == {"train": 18}
  assert contents(tmp_path / "out") == whole
  assert prepare(folder, tmp_path / "out") is None


def test_a_mended_picture_is_taken(folder, tmp_path):
  prepare(folder, tmp_path / "out")
  (tmp_path / "out/index.json").unlink()  # As --unreadable=refuse leaves it.
  (folder / "ant/08.png").write_bytes((folder / "ant/10.png").read_bytes())
  assert prepare(folder, tmp_path / "out") == {"train": 19}
  np.testing.assert_array_equal(load(tmp_path / "out").images[:], expected(folder)[0])


@pytest.mark.parametrize(
  "change, word",
  [
    ({"image_size": 5}, "other image_size (5, not 4)"),
    ({"resize": "area"}, "other resize"),
    ({"shard_size": 5}, "other shard_size"),
    ({"folder_labels": "none"}, "other folder_labels"),
  ],
)
def test_other_settings_do_not_mix(folder, tmp_path, change, word):
  prepare(folder, tmp_path / "out")
  assert prepare(folder, tmp_path / "out") is None  # Finished.
  before = contents(tmp_path / "out")
  with pytest.raises(ValueError) as caught:
    prepare(folder, tmp_path / "out", **change)
  assert word in str(caught.value) and before == contents(tmp_path / "out")


def test_another_list_of_pictures_does_not_mix(folder, tmp_path):
  prepare(folder, tmp_path / "out")
  (folder / "ant/03.png").rename(folder / "ant/03b.png")
  with pytest.raises(ValueError, match="another list of pictures"):
    prepare(folder, tmp_path / "out")


def test_foreign_folders_and_two_processes_are_refused(folder, tmp_path):
  (tmp_path / "out").mkdir()
  (tmp_path / "out/thesis.txt").write_text("mine")
  with pytest.raises(ValueError, match="--output_dir: expected an empty or new folder"):
    prepare(folder, tmp_path / "out")
  assert list(contents(tmp_path / "out")) == ["thesis.txt"]

  def another():
    with pytest.raises(ValueError, match="no other process"):
      prepare(folder, tmp_path / "new")

  prepare(folder, tmp_path / "new", another)


def test_a_full_disk_is_said_before_it_is(folder, tmp_path, monkeypatch):
  usage = preparation.shutil.disk_usage(tmp_path)
  too_little = usage._replace(free=COUNT * (4 * 4 * 3 + 4) - 1)
  monkeypatch.setattr(preparation.shutil, "disk_usage", lambda path: too_little)
  with pytest.raises(ValueError, match="GB free"):
    prepare(folder, tmp_path / "out")


def test_nothing_readable_and_several_sizes_are_refused(folder, tmp_path):
  Image.new("RGB", (3, 3)).save(folder / "ant/05.png")
  with pytest.raises(ValueError, match="^--image_size: .*6x7 .*, 3x3 .ant/05.png."):
    prepare(folder, tmp_path / "out", image_size=0)
  for path in folder.rglob("*.png"):
    path.write_bytes(b"")
  with pytest.raises(ValueError, match="none of which can be"):
    prepare(folder, tmp_path / "new")


def test_shards_are_of_256_mib_and_at_most_512():
  assert preparation._shard_size(50_000, 32 * 32 * 3) == 87_381
  assert preparation._shard_size(3_000_000, 256 * 256 * 3) == 5860


# Reading what is not as it was written.


@pytest.fixture(name="output")
def fixture_output(folder, tmp_path):
  prepare(folder, tmp_path / "out")
  return tmp_path / "out"


def test_the_size_must_be_the_records(output):
  assert len(load(output, image_size=4).images) == 18
  message = refused(output, image_size=8)
  assert message.startswith("--image_size: expected 4x4") and "received 8" in message


def test_other_settings_than_the_records_are_refused(output, folder, tmp_path):
  message = refused(output, resize="area")
  assert message.startswith("--resize: expected bicubic, with which") and message.endswith(
    "received area"
  )
  assert refused(output, folder_labels="none").startswith("--folder_labels: expected subfolders")
  prepare(folder, tmp_path / "area", resize="area", folder_labels="none")
  for settings in ({}, {"resize": "area"}, {"folder_labels": "none"}):
    assert load(tmp_path / "area", **settings).num_classes == 0
  assert "--folder_labels" in refused(tmp_path / "area", folder_labels="prefix")
  prepare(folder, tmp_path / "as_is", image_size=0)
  assert len(load(tmp_path / "as_is", resize="area").images) == 18  # Nothing was resized.


def test_a_split_that_is_not_there(output):
  assert "records of 'test'" in refused(output, "test") and "train only" in refused(output, "test")


@pytest.mark.parametrize("name", ["images-00002-of-00006.npy", "labels-00000-of-00006.npy"])
def test_cut_lost_and_foreign_files_are_named(output, name):
  path = output / "train" / name
  content = path.read_bytes()
  path.write_bytes(content[:-1])
  assert str(path) in refused(output) and "truncated" in refused(output)
  path.write_bytes(
    content[:20].swapcase() + content[20:].replace(b"|u1", b"|i1").replace(b"<i4", b"<f4")
  )
  assert str(path) in refused(output)
  path.unlink()
  assert str(path) in refused(output) and "No such file" in refused(output)


def test_a_changed_bit_is_found_by_its_checksum(output):
  path = output / "train/images-00004-of-00006.npy"
  content = bytearray(path.read_bytes())
  content[-3] ^= 1
  path.write_bytes(content)
  load(output)  # Opening reads no images.
  opened = records.Records(DataConfig(dataset="records", data_dir=str(output)))
  with pytest.raises(ValueError, match=f"^{path}: expected the SHA-256"):
    opened.verify("train")


@pytest.mark.parametrize(
  "content",
  [
    "",
    "{",
    "[]",
    "{}",
    '{"version": 1}',
    '{"version": 1, "image_shape": [4], "num_classes": 2, "class_names": [], "splits": {}}',
    '{"version": 9, "image_shape": [4, 4, 3], "num_classes": 2, "class_names": [], "splits": {}}',
  ],
)
def test_a_broken_index_is_named(output, content):
  (output / "index.json").write_text(content)
  assert str(output / "index.json") in refused(output)


def test_labels_beyond_the_classes_are_refused(output):
  path = output / "index.json"
  path.write_text(path.read_text().replace('"num_classes": 2', '"num_classes": 1'))
  assert "labels of records in [0, 1)" in refused(output)


def test_folders_without_records(folder, tmp_path):
  assert "trainers.prepare_data" in refused(folder)
  assert "trainers.prepare_data" in refused(tmp_path / "none")
  with pytest.raises(ValueError, match="received nothing"):
    sources.load(DataConfig(dataset="records"), "train")


def test_digits_become_grey_records(tmp_path):
  config = DataConfig(data_dir=str(tmp_path / "tfds"))
  listings = {split: sources.open_listing(config, split) for split in sources.splits(config)}
  output = pathlib.Path(tmp_path, "out")
  output.mkdir()
  with preparation.Preparation(config, listings, output, shard_size=500).opened() as work:
    work.make_shards(lambda: None)
    assert work.write_index() == {"train": 1437, "test": 360}
  for split in ("train", "test"):
    ours, theirs = load(output, split), sources.load(config, split)
    np.testing.assert_array_equal(ours.images[:], theirs.images)
    np.testing.assert_array_equal(ours.labels, theirs.labels)
    assert ours.num_classes == 10
