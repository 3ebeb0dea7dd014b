"""Folders of pictures: order, labels, splits, and the errors for wrong ones."""

import dataclasses
import os

import numpy as np
from PIL import Image
import pytest

from iddpm_tf import settings as settings_lib
from iddpm_tf.config import DataConfig
from iddpm_tf.data import sources
from iddpm_tf.data.records import preparation


def draw(path, grey=0, size=(4, 4)):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new("L", size, grey).save(path)


def config(folder, **settings):
  return DataConfig(dataset="folder", data_dir=str(folder), **settings)


def names(folder, split="train", **settings):
  listing = sources.open_listing(config(folder, **settings), split)
  return [picture.name for picture in listing.pictures(0, len(listing))]


def error_of(folder, split="train", **settings):
  """Returns the message of the error that loading raises: one line that names no flag."""
  with pytest.raises(settings_lib.InputError) as caught:
    sources.load(config(folder, **settings), split)
  message = str(caught.value)
  assert "--" not in message and "\n" not in message
  return message


def test_a_flat_folder_has_no_labels(tmp_path):
  for i in (2, 0, 1):
    draw(tmp_path / f"{i}.png", grey=10 * i, size=(6, 4))
  source = sources.load(config(tmp_path), "train")
  assert source.images.shape == (3, 4, 6, 1) and source.images.dtype == np.uint8
  np.testing.assert_array_equal(source.images[:, 0, 0, 0], [0, 10, 20])
  assert source.num_classes == 0 and source.labels.dtype == np.int32 and not source.labels.any()


def test_grey_pictures_have_one_channel_and_one_with_colour_gives_all_of_them_three(tmp_path):
  for i in range(40):
    draw(tmp_path / f"{i:02d}.png", grey=6 * i)
  Image.new("RGB", (4, 4), (100, 100, 100)).save(
    tmp_path / "40.png"
  )  # Grey, but in three channels.
  grey = sources.load(config(tmp_path), "train").images
  assert grey.shape == (41, 4, 4, 1) and grey[40].max() == 100
  Image.new("RGB", (4, 4), (100, 100, 101)).save(tmp_path / "40.png")
  colour = sources.load(config(tmp_path), "train").images
  assert colour.shape == (41, 4, 4, 3) and colour[40, 0, 0].tolist() == [100, 100, 101]
  np.testing.assert_array_equal(colour[:40], grey[:40].repeat(3, axis=-1))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_can_be_chosen(tmp_path, channels):
  draw(tmp_path / "0.png", grey=50)
  Image.new("RGBA", (4, 4), (200, 0, 0, 128)).save(tmp_path / "1.png")
  images = sources.load(config(tmp_path, channels=channels), "train").images
  assert images.shape == (2, 4, 4, channels)
  first, second = images[:, 0, 0].tolist()
  assert first == {1: [50], 3: [50] * 3, 4: [50, 50, 50, 255]}[channels]
  over_white = [227, 127, 127]
  luma = round(0.299 * over_white[0] + 0.587 * over_white[1] + 0.114 * over_white[2])
  assert second == {1: [luma], 3: over_white, 4: [200, 0, 0, 128]}[channels]


def test_pictures_have_the_channels_of_the_model_that_they_are_for(tmp_path):
  draw(tmp_path / "0.png")
  model = config(tmp_path, image_shape=(4, 4, 3))
  assert sources.load(model, "train").images.shape == (1, 4, 4, 3)


def test_only_pictures_are_listed_in_order_and_other_files_are_named(tmp_path):
  for name in (
    "b/2.PNG",
    "b/deep/er/1.JPeG",
    "a/x.webp",
    "a/é.gif",
    "a/.hidden.png",
    ".cache/y.png",
  ):
    draw(tmp_path / name)
  for name in ("b/notes.txt", "README", "a/Thumbs.db", "a/.DS_Store"):
    (tmp_path / name).write_text("")
  assert names(tmp_path) == ["a/x.webp", "a/é.gif", "b/2.PNG", "b/deep/er/1.JPeG"]
  assert sources.open_listing(config(tmp_path), "train").ignored == (
    "README",
    "a/Thumbs.db",
    "b/notes.txt",
  )


def test_reading_may_begin_anywhere(tmp_path):
  for i in range(5):
    draw(tmp_path / f"{i}.png")
  listing = sources.open_listing(config(tmp_path), "train")
  assert [picture.name for picture in listing.pictures(2, 4)] == ["2.png", "3.png"]


def test_sub_folders_are_classes(tmp_path):
  for name in ("dog/1.png", "cat/b/1.png", "cat/0.png"):
    draw(tmp_path / name)
  (tmp_path / "empty").mkdir()
  listing = sources.open_listing(config(tmp_path), "train")
  assert listing.class_names == ("cat", "dog")
  np.testing.assert_array_equal(sources.load(config(tmp_path), "train").labels, [0, 0, 1])
  assert sources.load(config(tmp_path, folder_labels="none"), "train").num_classes == 0


def test_prefixes_are_classes_as_in_the_authors_code(tmp_path):
  for name in ("dog_1.png", "x/cat_2_b.png", "dog_0.png"):
    draw(tmp_path / name)
  source = sources.load(config(tmp_path, folder_labels="prefix"), "train")
  assert source.num_classes == 2
  np.testing.assert_array_equal(source.labels, [1, 1, 0])  # dog_0, dog_1, x/cat_2_b.


@pytest.mark.parametrize(
  "train, test",
  [
    ("train", "test"),
    ("train", "val"),
    ("train", "validation"),
    ("train", "valid"),
    ("Training", "Testing"),
    ("TRAIN", "Test"),
  ],
)
def test_splits_are_sub_folders_and_share_their_numbers(tmp_path, train, test):
  for name in (f"{train}/ant/0.png", f"{train}/bee/0.png", f"{test}/bee/0.png"):
    draw(tmp_path / name)
  assert sources.splits(config(tmp_path)) == ("train", "test")
  assert names(tmp_path) == ["ant/0.png", "bee/0.png"]
  source = sources.load(config(tmp_path), "test")
  assert source.num_classes == 2 and source.labels.tolist() == [1]


def test_a_class_that_training_does_not_have_is_refused(tmp_path):
  for name in ("train/ant/0.png", "train/bee/0.png", "test/wasp/0.png"):
    draw(tmp_path / name)
  assert "classes of train only, received wasp" in error_of(tmp_path, "test")
  (tmp_path / "test/wasp").rename(tmp_path / ".elsewhere")
  draw(tmp_path / "test/0.png")
  assert "sub-folders of classes" in error_of(tmp_path, "test")


def test_the_error_for_a_missing_split_describes_the_layout(tmp_path):
  draw(tmp_path / "0.png")
  assert sources.splits(config(tmp_path)) == ("train",)
  assert "sub-folders train and test" in error_of(tmp_path, "test")


def test_a_class_called_train_is_not_taken_for_a_split(tmp_path):
  for name in ("car/0.png", "plane/0.png", "train/0.png"):
    draw(tmp_path / name)
  assert "set folder_splits to 'none'" in error_of(tmp_path)
  source = sources.load(config(tmp_path, folder_splits="none"), "train")
  assert source.class_names == ("car", "plane", "train") and source.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("other", ["dog/deep/0.png", "extra/ant/0.png", "stray.JPG"])
def test_pictures_outside_the_splits_are_refused(tmp_path, other):
  for name in ("train/ant/0.png", "test/ant/0.png", ".hidden/0.png", other):
    draw(tmp_path / name)
  (tmp_path / "validation").mkdir()
  (tmp_path / "README").write_text("")
  for split in ("train", "test"):
    message = error_of(tmp_path, split)
    assert f"received {tmp_path / other.split('/')[0]}, which" in message
    assert f"or give {tmp_path}/train alone" in message
  assert names(tmp_path / "train") == ["ant/0.png"]


def test_a_single_class_is_a_class(tmp_path):
  """The configuration refuses to condition a network on it."""
  draw(tmp_path / "cat/0.png")
  assert sources.load(config(tmp_path), "train").num_classes == 1


def test_missing_and_empty_folders_are_refused(tmp_path):
  assert "does not exist" in error_of(tmp_path / "none")
  empty = "received a folder without files (hidden ones are ignored); data_dir is the folder that"
  assert empty in error_of(tmp_path)
  (tmp_path / "notes.txt").write_text("")
  assert error_of(tmp_path).endswith(
    f"in {tmp_path}, received 1 other file (1 .txt); extensions names the files that are pictures"
  )
  for name in ("a.tif", "b.TIFF", "c.heic"):
    (tmp_path / name).write_text("")
  assert error_of(tmp_path).endswith(
    "received 4 other files (1 .heic, 1 .tif, 1 .tiff, 1 .txt); HEIF is not read (1 file): convert "
    "it, for example to PNG; TIFF is not read (2 files): convert them, for example to PNG"
  )
  assert "is not a folder" in error_of(tmp_path / "notes.txt")
  with pytest.raises(
    settings_lib.InputError, match=r"^data_dir: expected a folder of pictures.* received nothing$"
  ):
    sources.load(DataConfig(dataset="folder"), "train")


def test_pictures_beside_classes_are_refused(tmp_path):
  draw(tmp_path / "cat/0.png")
  draw(tmp_path / "1.png")
  message = error_of(tmp_path)
  assert message.startswith("folder_labels: ") and "1.png, which is in no sub-folder" in message
  assert names(tmp_path, folder_labels="none") == ["1.png", "cat/0.png"]


def test_a_name_without_a_prefix_is_refused(tmp_path):
  draw(tmp_path / "cat.png")
  assert "CLASS_NAME.png" in error_of(tmp_path, folder_labels="prefix")


def test_pictures_of_several_sizes_need_an_image_size(tmp_path):
  draw(tmp_path / "a.png", size=(4, 6))
  draw(tmp_path / "b.png", size=(5, 6))
  message = error_of(tmp_path)
  assert message.startswith("image_size: ") and "6x4 (a.png), 6x5 (b.png)" in message
  assert sources.load(config(tmp_path, image_size=3), "train").images.shape == (2, 3, 3, 1)


def test_unreadable_pictures_are_counted(tmp_path):
  for i in range(5):
    draw(tmp_path / f"{i}.png")
  (tmp_path / "1.png").write_bytes(b"")
  (tmp_path / "3.png").write_bytes(b"hello")
  message = error_of(tmp_path, image_size=4)
  assert "2 of 5 of folder that cannot" in message and "1.png, which is empty" in message
  assert "prepare records of the data" in message
  for i in (0, 2, 4):
    (tmp_path / f"{i}.png").write_bytes(b"II*\0")
  message = error_of(tmp_path, image_size=4)
  assert "received 5 pictures of folder, none of which can, the first being 0.png, which" in message
  assert "a TIFF" in message and message.endswith("; convert them, for example to PNG")


def test_more_than_fits_in_memory_is_refused(tmp_path, monkeypatch):
  for i in range(5):
    draw(tmp_path / f"{i}.png")
  monkeypatch.setattr(sources, "MAX_BYTES", 5 * 16 - 1)
  for size in (4, 0):
    assert "the data set 'records'" in error_of(tmp_path, image_size=size)
  monkeypatch.setattr(sources, "MAX_BYTES", 5 * 16)
  assert len(sources.load(config(tmp_path), "train").images) == 5
  Image.new("RGB", (4, 4), (1, 2, 3)).save(tmp_path / "4.png")
  assert "the data set 'records'" in error_of(tmp_path)
  monkeypatch.setattr(sources, "MAX_BYTES", 5 * 48)
  assert len(sources.load(config(tmp_path), "train").images) == 5


def test_links_are_followed_once(tmp_path):
  draw(tmp_path / "elsewhere/0.png")
  (tmp_path / "data/cat").mkdir(parents=True)
  os.symlink(tmp_path / "elsewhere", tmp_path / "data/cat/more")
  os.symlink(tmp_path / "data", tmp_path / "data/cat/round")
  os.symlink(tmp_path / "nowhere.png", tmp_path / "data/cat/gone.png")
  assert names(tmp_path / "data") == ["cat/gone.png", "cat/more/0.png"]
  assert "gone.png, which cannot be opened (No such file or directory)" in error_of(
    tmp_path / "data"
  )


def test_a_link_beside_a_class_is_a_class_of_its_own(tmp_path):
  draw(tmp_path / "cats/0.png")
  for link, target in (
    ("alias", "cats"),
    ("cats/up", "."),
    ("cats/self", "cats"),
    ("cats/above", ".."),
  ):
    os.symlink(tmp_path / target, tmp_path / link)
  assert names(tmp_path) == ["alias/0.png", "cats/0.png"]
  assert sources.load(config(tmp_path), "train").num_classes == 2


def test_names_of_any_bytes_stay_on_one_line(tmp_path):
  folder = os.fsencode(tmp_path)
  for name in (b"two\nlines.png", b"latin-\xe9.png"):
    with open(os.path.join(folder, name), "wb"):
      pass
  message = error_of(tmp_path)
  assert r"latin-\udce9.png" in message
  assert len(sources.open_listing(config(tmp_path), "train").digest()) == 64


def test_listings_of_other_pictures_have_other_digests(tmp_path):
  draw(tmp_path / "a/0.png")
  digest = sources.open_listing(config(tmp_path), "train").digest()
  assert sources.open_listing(config(tmp_path), "train").digest() == digest
  draw(tmp_path / "a/1.png")
  assert sources.open_listing(config(tmp_path), "train").digest() != digest


def notes(folder, split="train", **settings):
  return sources.load(config(folder, **settings), split).notes


def test_val_is_for_choosing_and_test_for_reporting_where_both_exist(tmp_path):
  for i, split in enumerate(("train", "Valid", "test")):
    draw(tmp_path / split / "ant/0.png", grey=i)
    draw(tmp_path / split / "bee/0.png", grey=i)
  assert sources.splits(config(tmp_path)) == ("train", "val", "test")
  for i, split in enumerate(("train", "val", "test")):
    source = sources.load(config(tmp_path), split)
    assert source.images.max() == i and source.labels.tolist() == [0, 1]
  assert notes(tmp_path) == (
    "splits: train is train, val is Valid, test is test; val is for choosing, test for reporting",
  )
  assert sources.choosing_split(config(tmp_path)) == "val"
  preparation.prepare(config(tmp_path), tmp_path / "out")
  records = DataConfig(dataset="records", data_dir=str(tmp_path / "out"))
  assert sources.choosing_split(records) == "val"
  assert [sources.held_out_split(each) for each in (config(tmp_path), records)] == ["val"] * 2
  assert sources.load(records, "val").images[:].max() == 1


def test_what_was_taken_as_a_split_is_said_unless_it_is_plain(tmp_path):
  for name in ("train/0.png", "test/0.png"):
    draw(tmp_path / "plain" / name)
  assert notes(tmp_path / "plain") == ()
  assert sources.choosing_split(config(tmp_path / "plain")) == "test"
  assert sources.held_out_split(config(tmp_path / "plain")) == "test"
  draw(tmp_path / "whole/0.png")
  assert sources.held_out_split(config(tmp_path / "whole")) is None
  for name in ("Training/0.png", "validation/0.png"):
    draw(tmp_path / "other" / name)
  assert notes(tmp_path / "other") == ("splits: train is Training, test is validation",)
  assert sources.choosing_split(config(tmp_path / "other")) == "test"
  assert "sub-folders train, val and test for the split 'val'" in error_of(
    tmp_path / "other", "val"
  )


def test_two_folders_for_one_split_are_refused_unless_one_is_empty(tmp_path):
  for name in ("train/0.png", "val/0.png", "test/0.png"):
    draw(tmp_path / name)
  (tmp_path / "valid").mkdir()
  assert sources.splits(config(tmp_path)) == ("train", "val", "test")
  draw(tmp_path / "valid/0.png")
  assert "one sub-folder for the split 'val', received val and valid" in error_of(tmp_path)


def test_folders_of_earlier_versions_keep_their_classes(tmp_path):
  """They took Training and Testing for two classes, and numbered 1, 10, 2."""
  for name in ("Training/0.png", "Testing/0.png", "Testing/1.bmp"):
    draw(tmp_path / "splits" / name)
  for name in ("1/0.png", "2/0.png", "10/0.png"):
    draw(tmp_path / "numbers" / name)
  before = dataclasses.asdict(DataConfig.before(5)) | {"dataset": "folder"}
  data = DataConfig(**before | {"data_dir": str(tmp_path / "splits")})
  assert sources.load(data, "train").class_names == ("Testing", "Training")
  assert sources.load(data, "train").images.shape == (2, 4, 4, 1)
  data = DataConfig(**before | {"data_dir": str(tmp_path / "numbers")})
  assert sources.load(data, "train").class_names == ("1", "10", "2")
  draw(tmp_path / "three/train/0.png")
  draw(tmp_path / "three/val/0.png")
  data = DataConfig(**before | {"data_dir": str(tmp_path / "three")})
  assert sources.splits(data) == ("train", "test")


@pytest.mark.parametrize(
  "class_names, ordered",
  [
    (["1", "10", "2"], ("1", "2", "10")),
    (["010", "9", "09"], ("09", "9", "010")),
    (["1", "10", "2", "other"], ("1", "10", "2", "other")),
    (["a10", "a2"], ("a10", "a2")),
  ],
)
def test_classes_whose_names_are_all_numbers_have_their_order(tmp_path, class_names, ordered):
  for name in class_names:
    draw(tmp_path / name / "0.png", grey=int(name) if name.isdecimal() else 99)
  source = sources.load(config(tmp_path), "train")
  assert source.class_names == ordered
  for image, label in zip(source.images, source.labels):
    assert image.max() == (int(ordered[label]) if ordered[label].isdecimal() else 99)
  by_text = sources.load(config(tmp_path, class_order="alphabetical"), "train")
  assert by_text.class_names == tuple(sorted(class_names))


def test_the_names_of_a_model_keep_their_numbers(tmp_path):
  for name in ("1", "2", "10"):
    draw(tmp_path / name / "0.png", grey=int(name))
  names = ("10", "1", "2")
  model = config(tmp_path, num_classes=3, class_names=names)
  source = sources.load(model, "train")
  assert source.class_names == names
  assert [names[label] for label in source.labels] == ["1", "10", "2"]
  assert [int(names[label]) for label in source.labels] == source.images[:, 0, 0, 0].tolist()
  other = config(tmp_path, num_classes=3, class_names=("1", "2", "3"))
  assert sources.load(other, "train").class_names == ("1", "2", "10")  # Others stay as they are.


def test_formats_that_can_be_read_are_read_and_others_are_counted(tmp_path):
  for i in range(8):
    draw(tmp_path / f"{i}.png")
  for i in range(30):
    draw(tmp_path / f"b{i}.bmp", grey=100)
    draw(tmp_path / f"j{i}.jpg", grey=100)
    (tmp_path / f"j{i}.jpg").rename(tmp_path / f"j{i}.JFIF")
  for name in ("a.tif", "b.TIF", "c.txt", "README"):
    (tmp_path / name).write_text("x")
  source = sources.load(config(tmp_path), "train")
  assert len(source.images) == 68 and np.sum(source.images[:, 0, 0, 0] == 100) == 60
  tiff = "TIFF is not read (2 files): convert them, for example to PNG"
  assert source.notes == (
    f"4 other files are ignored: 2 .tif, 1 without extension, 1 .txt; {tiff}",
  )
  assert notes(tmp_path, extensions=("PNG", "bmp")) == (
    f"34 other files are ignored: 30 .jfif, 2 .tif, 1 without extension, 1 .txt; {tiff}",
  )


def test_a_share_is_held_out_for_test(tmp_path):
  for i in range(50):
    draw(tmp_path / f"{'ab'[i % 2]}/{i:02d}.png", grey=i)
  held = {"test_share": 0.1}
  assert sources.splits(config(tmp_path, **held)) == ("train", "test")
  train, test = names(tmp_path, **held), names(tmp_path, "test", **held)
  assert len(test) == 5 and sorted(train + test) == sorted(names(tmp_path))
  assert names(tmp_path, "test", **held) == test
  source = sources.load(config(tmp_path, **held), "test")
  assert source.class_names == ("a", "b")
  assert source.labels.tolist() == [grey % 2 for grey in source.images[:, 0, 0, 0]]
  assert source.notes == (
    f"test is a share of 0.1 of {tmp_path}, 5 of 50 pictures; train is the rest",
  )
  # What was held out stays held out when pictures are added, as far as the share allows.
  for i in range(50, 60):
    draw(tmp_path / f"a/{i}.png")
  assert len(set(names(tmp_path, "test", **held)) & set(test)) >= 4
  listings = [
    sources.open_listing(config(tmp_path, **settings), split)
    for settings, split in (({}, "train"), (held, "train"), (held, "test"))
  ]
  assert len({listing.digest() for listing in listings}) == 3


def test_a_share_cannot_be_held_out_beside_a_test_split_or_of_one_picture(tmp_path):
  draw(tmp_path / "one/0.png")
  assert error_of(tmp_path / "one", test_share=0.5).startswith("test_share: expected two pictures")
  for name in ("train/0.png", "train/1.png", "Test/0.png"):
    draw(tmp_path / "both" / name)
  message = error_of(tmp_path / "both", test_share=0.5)
  assert message.startswith("test_share: expected 0, because") and "Test is a test split" in message
  assert "test_share=0.1" in error_of(tmp_path / "one", "test")
