"""The two formats that ImageNet-64 and LSUN are published in, made small on the spot."""

import io
import os
import sys

import lmdb
import numpy as np
from PIL import Image
import pytest

from iddpm_tf.config import DataConfig
from iddpm_tf.data import npz
from iddpm_tf.data import sources


def config(dataset, folder, **settings):
  return DataConfig(dataset=dataset, data_dir=str(folder), **settings)


def refused(dataset, folder, split="train", **settings):
  with pytest.raises(ValueError) as caught:
    sources.load(config(dataset, folder, **settings), split)
  assert "\n" not in str(caught.value)
  return str(caught.value)


def write_batch(path, images, labels):
  """[N, S, S, 3] as the official files hold them."""
  np.savez(
    path,
    data=images.transpose(0, 3, 1, 2).reshape(len(images), -1),
    labels=list(labels),
    mean=np.zeros(images[0].size),
  )


@pytest.fixture(name="batches")
def fixture_batches(tmp_path):
  """Batches 2 and 10 of three images of 4x4 each, and two for validation."""
  images = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), dtype=np.uint8)
  write_batch(tmp_path / "train_data_batch_10.npz", images[3:6], [1, 5, 2])
  write_batch(tmp_path / "train_data_batch_2.npz", images[:3], [3, 1, 1])
  write_batch(tmp_path / "val_data.npz", images[6:], [4, 1])
  return tmp_path, images


def test_imagenet_batches_come_in_numeric_order(batches):
  folder, images = batches
  source = sources.load(config("imagenet_npz", folder), "train")
  np.testing.assert_array_equal(source.images, images[:6])
  np.testing.assert_array_equal(source.labels, [2, 0, 0, 0, 4, 1])
  assert source.num_classes == 5 and source.labels.dtype == np.int32
  same = sources.load(config("imagenet_npz", folder, image_size=4), "train")
  np.testing.assert_array_equal(same.images, images[:6])


def test_imagenet_test_is_the_validation_file_with_training_s_classes(batches):
  folder, images = batches
  source = sources.load(config("imagenet_npz", folder), "test")
  np.testing.assert_array_equal(source.images, images[6:])
  assert source.labels.tolist() == [3, 0] and source.num_classes == 5


def test_imagenet_reads_from_anywhere_over_the_border_of_batches(batches):
  folder, images = batches
  listing = sources.open_listing(config("imagenet_npz", folder), "train")
  pictures = list(listing.pictures(2, 5))
  np.testing.assert_array_equal([picture.content for picture in pictures], images[2:5])
  assert [picture.name for picture in pictures] == [
    "train_data_batch_2.npz[2]",
    "train_data_batch_10.npz[0]",
    "train_data_batch_10.npz[1]",
  ]


def test_imagenet_can_be_made_smaller(batches):
  folder, images = batches
  means = images[:6].reshape(6, 2, 2, 2, 2, 3).mean(axis=(2, 4))
  source = sources.load(config("imagenet_npz", folder, image_size=2, resize="area"), "train")
  np.testing.assert_array_equal(source.images, np.floor(means + 0.5))


def test_imagenet_folders_that_are_none(tmp_path):
  assert "train_data_batch_1.npz" in refused("imagenet_npz", tmp_path)
  path = tmp_path / "train_data_batch_1.npz"
  images = np.zeros([2, 4, 4, 3], np.uint8)
  write_batch(path, images, [1, 2])
  assert "val_data.npz" in refused("imagenet_npz", tmp_path, "test")
  write_batch(tmp_path / "val_data.npz", images, [1, 3])
  assert "labels of 1 to 2" in refused("imagenet_npz", tmp_path, "test")
  for content in (b"", b"hello", path.read_bytes()[:200]):
    path.write_bytes(content)
    assert str(path) in refused("imagenet_npz", tmp_path)
  for arrays in (
    {"data": images},
    {"labels": [1]},
    {"data": images, "labels": [1, 2]},
    {"data": np.zeros([2, 48], np.float32), "labels": [1, 2]},
    {"data": np.zeros([2, 48], np.uint8), "labels": [1]},
    {"data": np.zeros([2, 47], np.uint8), "labels": [1, 2]},
    {"data": np.zeros([2, 48], np.uint8), "labels": [0, 1]},
  ):
    np.savez(path, **arrays)
    assert str(path) in refused("imagenet_npz", tmp_path)


def test_compressed_batches_are_read_or_refused_in_one_line(tmp_path):
  path, images = tmp_path / "train_data_batch_1.npz", np.zeros([20, 8, 8, 3], np.uint8)
  images[:] = np.random.default_rng(0).integers(0, 256, images.shape)
  np.savez_compressed(
    path, data=images.transpose(0, 3, 1, 2).reshape(20, -1), labels=np.arange(20) + 1
  )
  whole, rng, wrong = path.read_bytes(), np.random.default_rng(0), 0
  np.testing.assert_array_equal(
    sources.load(config("imagenet_npz", tmp_path), "train").images, images
  )
  # The compression of the first member, in both of its headers.
  foreign = bytearray(whole)
  foreign[8] = foreign[whole.index(b"PK\x01\x02") + 10] = 77
  broken = [bytes(foreign), whole[:-30], *(bytearray(whole) for _ in range(200))]
  for content in broken[2:]:
    for position in rng.integers(0, len(content), 3):
      content[position] = rng.integers(256)
  for content in broken:
    path.write_bytes(content)
    try:
      sources.load(config("imagenet_npz", tmp_path), "train")
    except ValueError as error:
      assert str(error).startswith(f"{path}: expected") and "\n" not in str(error)
      wrong += 1
  assert wrong > 150


def test_npz_says_what_a_file_is(tmp_path):
  path = tmp_path / "x.npz"

  def says(*names):
    with pytest.raises(ValueError) as caught:
      npz.read(path, *names)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected an .npz with 'a'") and "pickle" not in message
    return message.split("received ")[1]

  assert says("a") == "none (No such file or directory)"
  for content, word in (
    (b"", "an empty file"),
    (b"hello\n", "another file (no zip archive)"),
    (b"PK\x03\x04", "one that cannot be read"),
  ):
    path.write_bytes(content)
    assert says("a").startswith(word)
  with open(path, "wb") as file:
    np.save(file, [1])
  assert says("a").startswith("an .npy file")
  np.savez(path, a=np.array([{}]), b=[1])
  assert says("a") == "one that cannot be read (an array of Python objects, which is not read)"
  assert says("a", "c", "d") == "one without 'c' and 'd' (it has 'a' and 'b')"
  assert list(npz.read(path, "b", optional=("c",))) == ["b"]
  path.unlink()
  os.mkfifo(path)
  assert says("a") == "no regular file"


def write_lmdb(path, greys):
  with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
    for grey in greys:
      file = io.BytesIO()
      Image.new("RGB", (6, 5), (grey,) * 3).save(file, format="WEBP", lossless=True)
      transaction.put(f"key-{grey:03d}".encode(), file.getvalue())


def test_an_lmdb_is_read_in_the_order_of_its_keys(tmp_path):
  write_lmdb(tmp_path / "x", [30, 10, 20])
  before = sorted(path.name for path in (tmp_path / "x").iterdir())
  for _ in range(2):  # A process may hold an LMDB open only once.
    source = sources.load(config("lsun", tmp_path / "x"), "train")
    assert source.images[:, 0, 0, 0].tolist() == [10, 20, 30] and source.num_classes == 0
    assert source.images.shape == (3, 5, 6, 3)
  listing = sources.open_listing(config("lsun", tmp_path / "x", image_size=4), "train")
  assert [picture.name for picture in listing.pictures(1, 3)] == ["key-020", "key-030"]
  assert sorted(path.name for path in (tmp_path / "x").iterdir()) == before
  assert "_val_lmdb" in refused("lsun", tmp_path / "x", "test")


def test_categories_of_lsun_are_classes(tmp_path):
  write_lmdb(tmp_path / "tower_train_lmdb", [1, 2])
  write_lmdb(tmp_path / "tower_val_lmdb", [9])
  assert sources.load(config("lsun", tmp_path), "train").num_classes == 0
  write_lmdb(tmp_path / "church_outdoor_train_lmdb", [5])
  assert sources.splits(config("lsun", tmp_path)) == ("train", "test")
  listing = sources.open_listing(config("lsun", tmp_path), "train")
  assert listing.class_names == ("church_outdoor", "tower")
  source = sources.load(config("lsun", tmp_path), "train")
  assert source.labels.tolist() == [0, 1, 1] and source.images[:, 0, 0, 0].tolist() == [5, 1, 2]
  assert [picture.label for picture in listing.pictures(0, 2)] == [0, 1]
  assert sources.load(config("lsun", tmp_path), "test").labels.tolist() == [1]


def test_lsun_folders_that_are_none(tmp_path, monkeypatch):
  assert "*_train_lmdb" in refused("lsun", tmp_path)
  write_lmdb(tmp_path / "empty_train_lmdb", [])
  assert "found none" in refused("lsun", tmp_path)
  (tmp_path / "empty_train_lmdb/data.mdb").write_bytes(b"hello" * 5000)
  assert "cannot be read as an LMDB" in refused("lsun", tmp_path)
  monkeypatch.setitem(sys.modules, "lmdb", None)
  assert "pip install 'iddpm_tf[lsun]'" in refused("lsun", tmp_path)
