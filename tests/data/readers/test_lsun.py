"""LSUN in the format in which it is published, made small here."""

import io
import sys

import lmdb
from PIL import Image
import pytest

from iddpm_tf import settings as settings_lib
from iddpm_tf.config import DataConfig
from iddpm_tf.data import sources


def config(folder, **settings):
  return DataConfig(dataset="lsun", data_dir=str(folder), **settings)


def error_of(folder, split="train"):
  """Returns the message of the error that loading raises, which is one line."""
  with pytest.raises(settings_lib.InputError) as caught:
    sources.load(config(folder), split)
  assert "\n" not in str(caught.value)
  return str(caught.value)


def write_lmdb(path, greys):
  """Writes an LMDB of grey pictures of 6x5."""
  with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
    for grey in greys:
      file = io.BytesIO()
      Image.new("RGB", (6, 5), (grey,) * 3).save(file, format="WEBP", lossless=True)
      transaction.put(f"key-{grey:03d}".encode(), file.getvalue())


def test_an_lmdb_is_read_in_the_order_of_its_keys(tmp_path):
  write_lmdb(tmp_path / "x", [30, 10, 20])
  before = sorted(path.name for path in (tmp_path / "x").iterdir())
  for _ in range(2):  # A process may hold an LMDB open only once.
    source = sources.load(config(tmp_path / "x"), "train")
    assert source.images[:, 0, 0, 0].tolist() == [10, 20, 30] and source.num_classes == 0
    assert source.images.shape == (3, 5, 6, 1)
  listing = sources.open_listing(config(tmp_path / "x", image_size=4), "train")
  assert [picture.name for picture in listing.pictures(1, 3)] == ["key-020", "key-030"]
  assert sorted(path.name for path in (tmp_path / "x").iterdir()) == before
  assert "_val_lmdb" in error_of(tmp_path / "x", "test")


def test_categories_are_classes(tmp_path):
  write_lmdb(tmp_path / "tower_train_lmdb", [1, 2])
  write_lmdb(tmp_path / "tower_val_lmdb", [9])
  assert sources.load(config(tmp_path), "train").num_classes == 0
  write_lmdb(tmp_path / "church_outdoor_train_lmdb", [5])
  assert sources.splits(config(tmp_path)) == ("train", "test")
  listing = sources.open_listing(config(tmp_path), "train")
  assert listing.class_names == ("church_outdoor", "tower")
  source = sources.load(config(tmp_path), "train")
  assert source.labels.tolist() == [0, 1, 1] and source.images[:, 0, 0, 0].tolist() == [5, 1, 2]
  assert [picture.label for picture in listing.pictures(0, 2)] == [0, 1]
  assert sources.load(config(tmp_path), "test").labels.tolist() == [1]


def test_folders_without_an_lmdb_and_missing_packages_are_refused(tmp_path, monkeypatch):
  assert "*_train_lmdb" in error_of(tmp_path)
  write_lmdb(tmp_path / "empty_train_lmdb", [])
  assert "received an LMDB without entries" in error_of(tmp_path)
  (tmp_path / "empty_train_lmdb/data.mdb").write_bytes(b"hello" * 5000)
  assert "expected an LMDB" in error_of(tmp_path)
  monkeypatch.setitem(sys.modules, "lmdb", None)
  assert "pip install 'iddpm_tf[lsun]'" in error_of(tmp_path)
