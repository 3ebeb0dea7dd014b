"""Reading of records, whole ones and damaged ones."""

import shutil

import numpy as np
import pytest

from iddpm_tf import settings
from iddpm_tf.config import DataConfig
from iddpm_tf.data import sources
from iddpm_tf.data.records import reading
from tests.data.records.small_records import error_of_loading
from tests.data.records.small_records import load
from tests.data.records.small_records import prepare
from tests.data.records.small_records import readable_pictures


def test_records_are_indexed_as_an_array(drawn_pictures, prepared):
  images, expected = load(prepared).images, readable_pictures(drawn_pictures)[0]
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
    np.testing.assert_array_equal(images[index], expected[index])
  images[:2][...] = 0  # This is a copy, and the file stays as it is.
  np.testing.assert_array_equal(images[:2], expected[:2])
  for index in ([18], [-19]):
    with pytest.raises(IndexError, match="positions below 18"):
      images[index]


def test_records_take_the_place_of_the_data_set_that_they_were_prepared_from(prepared):
  """A flagfile names the data set. The folder alone says that it was prepared."""
  config = DataConfig(dataset="folder", data_dir=str(prepared))
  expected = load(prepared)
  source = sources.load(config, "train")
  np.testing.assert_array_equal(source.images[:], expected.images[:])
  np.testing.assert_array_equal(source.labels, expected.labels)
  assert source.class_names == ("ant", "bee")
  assert sources.choosing_split(config) == "test" and sources.held_out_split(config) is None
  with pytest.raises(settings.InputError, match="dataset: expected records or folder, from which"):
    sources.load(DataConfig(dataset="lsun", data_dir=str(prepared)), "train")


def test_other_folders_are_no_records(drawn_pictures, prepared, tmp_path):
  """Files of the same names may mean something else. Unfinished records are said to be so."""
  folder = tmp_path / "pictures"
  shutil.copytree(drawn_pictures, folder, ignore=shutil.ignore_patterns("*7.png", "*8.png"))
  for name in ("index.json", "plan.json"):
    (folder / name).write_text("{}")
  config = DataConfig(dataset="folder", data_dir=str(folder))
  assert sources.records_of(config) is None
  output = tmp_path / "unfinished"
  shutil.copytree(prepared, output)
  (output / "index.json").unlink()
  with pytest.raises(settings.InputError, match="has begun and is not finished"):
    sources.load(DataConfig(dataset="folder", data_dir=str(output)), "train")


def test_the_size_must_be_that_of_the_records(prepared):
  assert len(load(prepared, image_size=4).images) == 18
  message = error_of_loading(prepared, image_size=8)
  assert message.startswith("image_size: expected 4x4") and message.endswith("received 8")


def test_other_settings_than_those_of_the_records_are_refused(prepared, drawn_pictures, tmp_path):
  message = error_of_loading(prepared, resize="area")
  assert message.startswith("resize: expected bicubic, with which")
  assert message.endswith("received area")
  message = error_of_loading(prepared, folder_labels="none")
  assert message.startswith("folder_labels: expected subfolders")
  prepare(drawn_pictures, tmp_path / "area", resize="area", folder_labels="none")
  for values in ({}, {"resize": "area"}, {"folder_labels": "none"}):
    assert load(tmp_path / "area", **values).num_classes == 0
  message = error_of_loading(tmp_path / "area", folder_labels="prefix")
  assert message.startswith("folder_labels: ")


def test_any_way_of_resizing_fits_records_that_were_not_resized(drawn_pictures, tmp_path):
  prepare(drawn_pictures, tmp_path / "out", image_size=0)
  assert len(load(tmp_path / "out", resize="area").images) == 18


def test_a_missing_split_is_refused(prepared):
  message = error_of_loading(prepared, "test")
  assert "records of the split 'test'" in message and "has train only" in message


@pytest.mark.parametrize("name", ["images-00002-of-00006.npy", "labels-00000-of-00006.npy"])
def test_truncated_foreign_and_lost_files_are_named(output, name):
  path = output / "train" / name
  content = path.read_bytes()
  path.write_bytes(content[:-1])
  assert f"{path}: expected" in error_of_loading(output)
  assert "truncated" in error_of_loading(output)
  path.write_bytes(
    content[:20].swapcase() + content[20:].replace(b"|u1", b"|i1").replace(b"<i4", b"<f4")
  )
  assert f"{path}: expected" in error_of_loading(output)
  path.unlink()
  assert f"{path}: expected" in error_of_loading(output)
  assert "No such file" in error_of_loading(output)


def test_a_changed_bit_is_found_by_the_checksum(output):
  path = output / "train/images-00004-of-00006.npy"
  content = bytearray(path.read_bytes())
  content[-3] ^= 1
  path.write_bytes(content)
  load(output)  # Opening reads no images.
  records = reading.Records(DataConfig(dataset="records", data_dir=str(output)))
  with pytest.raises(settings.InputError, match=f"^{path}: expected the SHA-256"):
    records.verify("train")


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
  assert error_of_loading(output).startswith(f"{output / 'index.json'}: expected")


def test_labels_beyond_the_classes_are_refused(output):
  path = output / "index.json"
  path.write_text(path.read_text().replace('"num_classes": 2', '"num_classes": 1'))
  assert "labels of records from 0 to 0, received 1" in error_of_loading(output)


def test_folders_without_records_are_refused(folder, tmp_path):
  for path in (folder, tmp_path / "none"):
    message = error_of_loading(path)
    assert f"received {path}; records are prepared from pictures first" in message
  with pytest.raises(settings.InputError, match=r"^data_dir: .* received nothing"):
    sources.load(DataConfig(dataset="records"), "train")


def test_statistics_are_those_of_the_pictures(output):
  records = reading.Records(DataConfig(dataset="records", data_dir=str(output)))
  statistics = records.statistics("train")
  assert statistics.count == 18 and dict(statistics.sizes) == {"6x7": 18}
  assert dict(statistics.labels) == {"0": 8, "1": 10}
  path = output / "train/shard-00001-of-00006.json"
  path.write_text("[]")
  with pytest.raises(settings.InputError, match=f"^{path}: expected the facts of a shard"):
    records.statistics("train")
