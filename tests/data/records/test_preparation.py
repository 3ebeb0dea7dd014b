"""Preparation of records: which files are written, and that interrupted work continues."""

import collections
import dataclasses
import json
import os
import pathlib
import shutil

import numpy as np
from PIL import Image
import pytest

from iddpm_tf import settings
from iddpm_tf.config import DataConfig
from iddpm_tf.data import batches as batches_lib
from iddpm_tf.data import decoding
from iddpm_tf.data import sources
from iddpm_tf.data.records import preparation
from tests.data.records.small_records import BROKEN
from tests.data.records.small_records import COUNT
from tests.data.records.small_records import NAMES
from tests.data.records.small_records import Recorder
from tests.data.records.small_records import config_of
from tests.data.records.small_records import contents
from tests.data.records.small_records import error_of_loading
from tests.data.records.small_records import load
from tests.data.records.small_records import prepare
from tests.data.records.small_records import readable_pictures

VERSION_1 = pathlib.Path(__file__).parent / "version_1"  # Records of an earlier release.


class Killed(BaseException):
  pass


def kill():
  raise Killed


def test_records_are_the_readable_pictures_in_order(folder, tmp_path):
  progress = Recorder()
  assert prepare(folder, tmp_path / "new/out", progress=progress) == {"train": COUNT - len(BROKEN)}
  source = load(tmp_path / "new/out")
  images, labels = readable_pictures(folder)
  assert source.images.shape == (18, 4, 4, 3) and source.images.dtype == np.uint8
  assert len(source.images) == 18
  np.testing.assert_array_equal(source.images[:], images)
  np.testing.assert_array_equal(source.labels, labels)
  assert source.num_classes == 2 and source.class_names == ("ant", "bee")
  assert source.labels.dtype == np.int32
  assert progress.lines[0] == "train: 23 pictures of folder, 2 classes"
  assert progress.lines[1:3] == [
    "5 pictures cannot be read:",
    "train/ant/00.png: is not a picture (its content is not PNG, JPEG, WebP, GIF or BMP)",
  ]
  assert progress.lines[-1] == f"{tmp_path}/new/out/train: 18 images"


def test_shards_have_fixed_positions_even_if_pictures_are_left_out(prepared):
  index = json.loads((prepared / "index.json").read_text())
  assert [shard["count"] for shard in index["splits"]["train"]["shards"]] == [3, 3, 2, 4, 4, 2]
  unreadable = [name for name, _ in index["splits"]["train"]["unreadable"]]
  assert unreadable == [NAMES[i] for i in BROKEN]


def test_a_shard_without_readable_pictures(folder, tmp_path):
  for i in range(8, 12):
    (folder / NAMES[i]).write_bytes(b"")
  assert prepare(folder, tmp_path / "out") == {"train": 16}
  np.testing.assert_array_equal(load(tmp_path / "out").images[:], readable_pictures(folder)[0])


def test_batches_for_training_come_from_records(drawn_pictures, prepared):
  images, labels = readable_pictures(drawn_pictures)
  batches = batches_lib.training_batches(load(prepared), batch_size=9, seed=0).take(2)
  epoch = list(batches.as_numpy_iterator())
  pixels = (np.concatenate([batch["image"] for batch in epoch]) + 1) * 127.5
  epoch_labels = np.concatenate([batch["label"] for batch in epoch])
  examples = zip(np.rint(pixels).astype(np.uint8), epoch_labels)
  assert sorted((image.tobytes(), int(label)) for image, label in examples) == sorted(
    (image.tobytes(), int(label)) for image, label in zip(images, labels)
  )


@pytest.mark.parametrize("after", [0, 3, 4, 17, 22])
def test_an_interrupted_preparation_continues_to_the_same_bytes(
  folder, prepared, tmp_path, monkeypatch, after
):
  done = 0

  def kill_after():
    nonlocal done
    done += 1
    if done > after:
      raise Killed

  with pytest.raises(Killed):
    prepare(folder, tmp_path / "out", progress=Recorder(kill_after))
  assert "has begun and is not finished" in error_of_loading(tmp_path / "out")
  # SIGKILL leaves the parts of files.
  (tmp_path / "out/train/.part-images-00005-of-00006.npy").write_bytes(b"half")
  decoded = []
  decode = decoding.decode
  monkeypatch.setattr(
    decoding, "decode", lambda picture, form: decoded.append(picture.name) or decode(picture, form)
  )
  progress = Recorder()
  prepare(folder, tmp_path / "out", progress=progress)
  assert contents(tmp_path / "out") == contents(prepared)
  # Decoded again are the pictures up to the first that can be read, for its shape, and broken ones,
  # since they may have been repaired. Threads of the killed call may still decode unfinished ones.
  finished = after // 4 * 4
  resumed = f"resuming {tmp_path}/out after {finished} of 23 pictures"
  assert (resumed in progress.lines) == (finished > 0)
  again = collections.Counter(name for name in decoded if name in NAMES[:finished])
  expected = collections.Counter(NAMES[:2]) + collections.Counter(NAMES[i] for i in BROKEN)
  assert again <= expected


def test_the_part_of_a_plan_that_a_killed_process_leaves_is_replaced(folder, prepared, tmp_path):
  (tmp_path / "out").mkdir()
  (tmp_path / "out/.part-plan.json").write_text("{")
  prepare(folder, tmp_path / "out")
  assert contents(tmp_path / "out") == contents(prepared)


def test_a_lost_or_truncated_shard_is_made_again(folder, output, prepared):
  (output / "index.json").unlink()
  (output / "train/labels-00001-of-00006.npy").unlink()
  os.truncate(output / "train/images-00003-of-00006.npy", 100)
  (output / "train/shard-00005-of-00006.json").write_text("{")
  prepare(folder, output)
  assert contents(output) == contents(prepared)


@pytest.mark.parametrize(
  "name, size",
  [
    ("train/images-00003-of-00006.npy", 100),
    ("train/labels-00001-of-00006.npy", None),
    ("train/shard-00002-of-00006.json", None),
    ("index.json", 20),
  ],
)
def test_finished_records_that_are_damaged_are_made_again(folder, output, prepared, name, size):
  if size is None:
    (output / name).unlink()
  else:
    os.truncate(output / name, size)
  if name != "index.json":
    progress = Recorder(kill)
    with pytest.raises(Killed):
      prepare(folder, output, progress=progress)
    assert any("is damaged: 1 of its shards" in line for line in progress.lines)
    assert not (output / "index.json").exists()
  assert prepare(folder, output) == {"train": 18}
  assert contents(output) == contents(prepared)
  progress = Recorder(kill)
  assert prepare(folder, output, progress=progress) == {"train": 18}
  assert progress.lines[-1] == f"{output} is finished: nothing to do"


def test_unreadable_pictures_are_refused_and_listed(folder, tmp_path):
  with pytest.raises(settings.InputError) as caught:
    preparation.prepare(config_of(folder), tmp_path / "out", shard_size=4)
  message = str(caught.value)
  assert message.startswith("unreadable: expected 'skip', since 5 pictures cannot be read")
  assert "train/ant/00.png: is not a picture" in message and "--" not in message
  listed = (tmp_path / "out/train/unreadable.txt").read_text().splitlines()
  assert [line.split(":")[0] for line in listed] == [NAMES[i] for i in BROKEN]
  assert not (tmp_path / "out/index.json").exists()
  # A picture that is repaired is taken.
  shutil.copy(folder / "ant/10.png", folder / "ant/08.png")
  assert prepare(folder, tmp_path / "out") == {"train": 19}
  np.testing.assert_array_equal(load(tmp_path / "out").images[:], readable_pictures(folder)[0])


@pytest.mark.parametrize(
  "change, message",
  [
    ({"image_size": 5}, "other image_size (5 instead of 4)"),
    ({"resize": "area"}, "other resize"),
    ({"shard_size": 5}, "other shard_size"),
    ({"folder_labels": "none"}, "other folder_labels"),
  ],
)
def test_other_settings_are_refused(folder, output, prepared, change, message):
  with pytest.raises(settings.InputError, match=r"^output_dir: ") as caught:
    prepare(folder, output, **change)
  assert message in str(caught.value) and contents(output) == contents(prepared)


def test_another_list_of_pictures_is_refused(folder, output):
  (folder / "ant/03.png").rename(folder / "ant/03b.png")
  with pytest.raises(settings.InputError, match=r"^output_dir: .*\(another list of pictures\)"):
    prepare(folder, output)


def test_foreign_folders_and_a_second_process_are_refused(folder, tmp_path):
  (tmp_path / "out").mkdir()
  (tmp_path / "out/thesis.txt").write_text("mine")
  with pytest.raises(settings.InputError, match=r"^output_dir: expected an empty or new folder"):
    prepare(folder, tmp_path / "out")
  assert list(contents(tmp_path / "out")) == ["thesis.txt"]

  def prepare_too():
    with pytest.raises(settings.InputError, match=r"^output_dir: .* no other process"):
      prepare(folder, tmp_path / "new")

  prepare(folder, tmp_path / "new", progress=Recorder(prepare_too))


def test_too_small_a_disk_is_refused_before_anything_is_written(folder, tmp_path, monkeypatch):
  usage = shutil.disk_usage(tmp_path)
  too_small = usage._replace(free=COUNT * (4 * 4 * 3 + 4) - 1)
  monkeypatch.setattr(shutil, "disk_usage", lambda path: too_small)
  with pytest.raises(settings.InputError, match=r"^output_dir: .* GB free"):
    prepare(folder, tmp_path / "out")


def test_several_sizes_and_only_unreadable_pictures_are_refused(folder, tmp_path):
  Image.new("RGB", (3, 3)).save(folder / "ant/05.png")
  with pytest.raises(settings.InputError, match=r"^image_size: .*6x7 .*, 3x3 .ant/05.png."):
    prepare(folder, tmp_path / "out", image_size=0)
  for path in folder.rglob("*.png"):
    path.write_bytes(b"")
  with pytest.raises(settings.InputError) as caught:
    prepare(folder, tmp_path / "new")
  assert str(caught.value) == (
    "data_dir: expected pictures that can be read, received 23 pictures of folder, none of which "
    "can, the first being ant/00.png, which is empty; convert them, for example to PNG"
  )


@pytest.mark.parametrize(
  "arguments, name",
  [
    ({"splits": ("train", "validation")}, "splits"),
    ({"splits": ("test", "test")}, "splits"),
    ({"shard_size": -1}, "shard_size"),
    ({"workers": -1}, "workers"),
    ({"unreadable": "maybe"}, "unreadable"),
  ],
)
def test_impossible_arguments_are_refused(folder, tmp_path, arguments, name):
  with pytest.raises(settings.InputError, match=f"^{name}: expected"):
    preparation.prepare(config_of(folder), tmp_path / "out", **arguments)
  assert not (tmp_path / "out").exists()


def test_shards_are_of_256_mib_and_at_most_512():
  assert preparation._shard_size(50_000, 32 * 32 * 3) == 87_381
  assert preparation._shard_size(3_000_000, 256 * 256 * 3) == 5860


def test_digits_become_grey_records(digits_dir, tmp_path):
  config = DataConfig(data_dir=digits_dir)
  counts = preparation.prepare(config, tmp_path / "out", shard_size=500)
  assert counts == {"train": 1437, "test": 360}
  for split in counts:
    records, digits = load(tmp_path / "out", split), sources.load(config, split)
    np.testing.assert_array_equal(records.images[:], digits.images)
    np.testing.assert_array_equal(records.labels, digits.labels)
    assert records.num_classes == 10 and records.class_names == digits.class_names


def version_1_images(split):
  """Returns the images of the pictures that the records `version_1` are made of."""
  count = {"train": 4, "test": 1}[split]
  pixels = np.arange(4 * 5 * 3).reshape(4, 5, 3) * 4
  return np.stack([(pixels + 7 * i).astype(np.uint8) for i in range(count)])


def draw_version_1(folder):
  """Writes the pictures that the records `version_1` are made of."""
  names = {"train": ["ant/0.png", "ant/1.png", "bee/0.png", "bee/é.png"], "test": ["bee/0.png"]}
  for split, split_names in names.items():
    for name, image in zip(split_names, version_1_images(split)):
      (folder / split / name).parent.mkdir(parents=True, exist_ok=True)
      Image.fromarray(image).save(folder / split / name)
  (folder / "train/bee/2.png").write_bytes(b"")


@pytest.mark.parametrize("split, labels", [("train", [0, 0, 1, 1]), ("test", [1])])
def test_records_of_earlier_releases_are_read(split, labels):
  source = load(VERSION_1, split)
  np.testing.assert_array_equal(source.images[:], version_1_images(split))
  assert source.labels.tolist() == labels and source.class_names == ("ant", "bee")


def assert_same_records(folder, expected):
  """Requires the bytes of all arrays, and in JSON everything that an earlier release wrote."""
  assert {path.name for path in folder.rglob("*")} == {path.name for path in expected.rglob("*")}

  def assert_holds(content, expected_content):
    if isinstance(expected_content, dict):
      for key, value in expected_content.items():
        assert_holds(content[key], value)
    else:
      assert content == expected_content

  for name, content in contents(expected).items():
    if name.endswith(".json"):
      assert_holds(json.loads((folder / name).read_text()), json.loads(content))
    else:
      assert (folder / name).read_bytes() == content, name


def test_records_have_the_bytes_of_earlier_releases(tmp_path):
  draw_version_1(tmp_path / "pictures")
  config = config_of(tmp_path / "pictures", image_size=0)
  preparation.prepare(config, tmp_path / "out", shard_size=2, unreadable="skip")
  assert_same_records(tmp_path / "out", VERSION_1)


def test_a_preparation_that_an_earlier_release_began_continues(tmp_path):
  draw_version_1(tmp_path / "pictures")
  shutil.copytree(VERSION_1, tmp_path / "out")
  (tmp_path / "out/index.json").unlink()
  (tmp_path / "out/train/shard-00001-of-00003.json").unlink()
  config = config_of(tmp_path / "pictures", image_size=0)
  progress = Recorder()
  preparation.prepare(config, tmp_path / "out", shard_size=2, unreadable="skip", progress=progress)
  assert f"resuming {tmp_path}/out after 4 of 6 pictures" in progress.lines
  assert_same_records(tmp_path / "out", VERSION_1)


def test_what_an_earlier_release_began_keeps_its_pixels(tmp_path):
  """It gave three channels to grey pictures, and took no notice of orientation."""
  for i in range(4):
    exif = Image.Exif()
    exif[0x0112] = 3
    path = tmp_path / f"pictures/{i}.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.arange(i, i + 12, dtype=np.uint8).reshape(3, 4)).save(path, exif=exif)
  upright, before = tmp_path / "upright", tmp_path / "before"
  config = config_of(tmp_path / "pictures", image_size=0)
  preparation.prepare(config, upright, shard_size=2)
  assert load(upright).images.shape == (4, 3, 4, 1)
  preparation.prepare(
    dataclasses.replace(config, channels=3, exif_orientation=False), before, shard_size=2
  )
  images = load(before).images[:]
  np.testing.assert_array_equal(images[..., ::-1, ::-1, :1], load(upright).images[:])
  # As the earlier release leaves it after half of the work.
  plan = json.loads((before / "plan.json").read_text())
  for name in ("exif_orientation", "background", "max_value"):
    plan.pop(name)
  (before / "plan.json").write_text(json.dumps(plan))
  (before / "index.json").unlink()
  (before / "train/shard-00001-of-00002.json").unlink()
  preparation.prepare(config, before, shard_size=2)
  np.testing.assert_array_equal(load(before).images[:], images)


def test_grey_pictures_become_records_of_one_channel(tmp_path):
  for split in ("train", "test"):
    (tmp_path / "pictures" / split).mkdir(parents=True)
    for i in range(20):
      Image.new("L" if i % 2 else "RGB", (4, 4), (i,) * (1 if i % 2 else 3)).save(
        tmp_path / "pictures" / split / f"{i:02d}.png"
      )
  config = config_of(tmp_path / "pictures")
  preparation.prepare(config, tmp_path / "grey")
  assert load(tmp_path / "grey").images.shape == (20, 4, 4, 1)
  assert load(tmp_path / "grey").images[7:8].max() == 7
  message = error_of_loading(tmp_path / "grey", channels=3)
  assert message.startswith("channels: expected 1, the channels of the records in")
  preparation.prepare(dataclasses.replace(config, channels=3), tmp_path / "rgb")
  assert load(tmp_path / "rgb", channels=3).images.shape == (20, 4, 4, 3)
  # One picture with colour in any split decides for all.
  Image.new("RGB", (4, 4), (9, 9, 8)).save(tmp_path / "pictures/test/19.png")
  preparation.prepare(config, tmp_path / "colour")
  assert load(tmp_path / "colour").images.shape == (20, 4, 4, 3)


def test_colour_is_sought_only_until_it_is_found(folder, tmp_path, monkeypatch):
  decoded, decode = [], decoding.decode
  monkeypatch.setattr(
    decoding, "decode", lambda picture, form: decoded.append(picture.name) or decode(picture, form)
  )
  with pytest.raises(Killed):
    prepare(folder, tmp_path / "out", progress=Recorder(kill))
  assert decoded.count(NAMES[1]) == 2 and decoded.count(NAMES[2]) == 1


def test_records_know_how_their_pictures_were_read(folder, tmp_path):
  prepare(folder, tmp_path / "out", exif_orientation=False, background="black", max_value=4095)
  for values in ({}, {"background": "black", "exif_orientation": False, "max_value": 4095}):
    assert len(load(tmp_path / "out", **values).images) == 18
  assert error_of_loading(tmp_path / "out", background="1,2,3").startswith(
    "background: expected black, with which the records in"
  )
  with pytest.raises(settings.InputError, match=r"other background \(white instead of black\)"):
    prepare(folder, tmp_path / "out", exif_orientation=False, max_value=4095)
