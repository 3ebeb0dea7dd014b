"""Runs on folders of pictures: class names, and pictures that change between two calls."""

import json

import numpy as np
from PIL import Image
import pytest

import iddpm_tf as iddpm
from iddpm_tf import api
from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import sources
from iddpm_tf.data.records import preparation
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.training import loop
from iddpm_tf.training import periodic_evaluation
from tests import recorder as recorder_lib
from tests import small_model

NUMBERS = ("1", "2", "10")


@pytest.fixture(autouse=True)
def fixture_sharing(shared_graphs):
  """Runs of the same configuration share their state."""


def draw(path, grey):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new("L", (8, 8), grey).save(path)


@pytest.fixture(name="pictures")
def fixture_pictures(tmp_path):
  """Twelve grey pictures in the classes 1, 2 and 10."""
  for i in range(12):
    name = NUMBERS[i % 3]
    draw(tmp_path / f"pictures/{name}/{i:02d}.png", 10 * int(name))
  return tmp_path / "pictures"


def config_of(pictures, **changes):
  changes = {"train_steps": small_model.STEP, "dataset": "folder", **changes}
  return iddpm.Config.from_settings(**small_model.SETTINGS | changes, data_dir=str(pictures))


@pytest.fixture(name="folder")
def fixture_folder(pictures, tmp_path):
  """The folder of a finished run on the pictures, with random weights."""
  config = config_of(pictures)
  unused = model_dir_lib.ModelDir(tmp_path / "unused")
  resolved = loop.resolve_config(config, sources.load(config.data, "train"), unused)
  return model_dir_lib.ModelDir(small_model.write(tmp_path / "run", resolved))


def resume(config, folder, **options):
  """Continues a finished run, which does not train, and returns the lines that are said."""
  recorder = recorder_lib.Recorder()
  step = api.run_training(config, model_dir=folder.path, progress=recorder, **options)
  assert step == small_model.STEP
  return recorder.lines


def notes(lines):
  return [line for line in lines if line.startswith("note: ")]


def test_names_of_classes_are_in_the_configuration_in_their_order(folder):
  content = json.loads((folder.path / "config.json").read_text())
  assert content["data"]["class_names"] == list(NUMBERS)
  assert content["data"]["image_shape"] == [8, 8, 1]


def test_changed_pictures_are_said_in_one_line(folder, pictures):
  config = config_of(pictures)
  assert notes(resume(config, folder)) == notes(resume(config, folder)) == []
  draw(pictures / "2/new.png", 20)
  other = f"note: {folder} was trained on other images or labels until now"
  assert notes(resume(config, folder)) == [f"{other} (12, now 13)"]
  assert notes(resume(config, folder)) == []
  (pictures / "2/new.png").rename(pictures / "1/new.png")
  assert notes(resume(config, folder)) == [other]
  (pictures / "1/new.png").unlink()
  assert notes(resume(config, folder)) == [f"{other} (13, now 12)"]
  draw(pictures / "1/00.png", 77)
  assert notes(resume(config, folder)) == [other]


def test_changed_pictures_are_refused_where_the_call_is_strict(folder, pictures):
  config = config_of(pictures)
  with pytest.raises(settings.InputError) as caught:
    resume(config, folder, strict=True)
  assert str(caught.value) == (
    f"strict: requires {folder.path}/images.crc32, which earlier versions did not write; a call "
    "without strict writes it"
  )
  resume(config, folder)
  assert notes(resume(config, folder, strict=True)) == []
  before = folder.read_checksum()
  draw(pictures / "2/new.png", 20)
  with pytest.raises(settings.InputError) as caught:
    resume(config, folder, strict=True)
  assert str(caught.value) == (
    f"strict: expected the images and labels that {folder} was trained on, received others (12, "
    "now 13); a call without strict continues on them"
  )
  assert folder.read_checksum() == before


def test_a_change_of_any_picture_in_memory_is_noticed(folder):
  """The checksum of earlier versions has 1,000 images of 5,000."""
  images, labels = np.zeros([5000, 8, 8, 1], np.uint8), np.arange(5000) % 3
  config = config_of("unused").with_settings(dataset="arrays", data_dir=None)
  source = sources.from_arrays(images, labels, class_names=NUMBERS)

  def resume_strictly(source):
    return resume(config, folder, images=source, strict=True)

  resume(config, folder, images=source)
  before = folder.read_checksum()
  changed = images.copy()
  changed[3] = 1
  assert sources.checksum(source) == sources.checksum(source._replace(images=changed))
  with pytest.raises(settings.InputError, match=r"^strict: expected the images and labels "):
    resume_strictly(source._replace(images=changed))
  # Images on the disk are compared by 1,000 of them, and so are those of an earlier version.
  on_disk = source._replace(images=images.view(np.memmap))
  resume_strictly(on_disk)
  assert folder.read_checksum() == before
  folder.checksum.write_text(f"{before.checksum} 5000\n")
  resume_strictly(source)
  assert folder.read_checksum() == before


def test_the_same_pictures_as_records_are_no_change(folder, pictures, tmp_path):
  config = config_of(pictures)
  resume(config, folder)
  preparation.prepare(config.data, tmp_path / "records")
  lines = resume(config_of(tmp_path / "records", dataset="records"), folder)
  assert notes(lines) == [f"note: {folder} was made with dataset=folder and continues with records"]


def test_another_list_of_classes_is_refused_with_the_difference(folder, pictures):
  (pictures / "10").rename(pictures / "3")
  with pytest.raises(settings.InputError) as caught:
    resume(config_of(pictures), folder)
  assert str(caught.value) == (
    f"dataset: expected the classes that {folder} was trained on, received '3' instead of '10' "
    "(folder)"
  )


def test_the_same_names_keep_their_numbers(folder, pictures):
  """A run of an earlier version numbered 1, 10, 2."""
  content = json.loads((folder.path / "config.json").read_text())
  content["data"]["class_names"] = ["1", "10", "2"]
  (folder.path / "config.json").write_text(json.dumps(content))
  lines = resume(config_of(pictures), folder)
  assert lines and folder.read_config().data.class_names == ("1", "10", "2")
  names = folder.read_config().data.class_names
  source = sources.load(folder.read_config().data, "train")
  assert [10 * int(names[label]) for label in source.labels] == source.images[:, 0, 0, 0].tolist()


def test_a_run_without_classes_may_lose_one(pictures, tmp_path):
  config = config_of(pictures, class_conditional=False)
  unused = model_dir_lib.ModelDir(tmp_path / "unused")
  resolved = loop.resolve_config(config, sources.load(config.data, "train"), unused)
  folder = model_dir_lib.ModelDir(small_model.write(tmp_path / "run", resolved))
  (pictures / "10").rename(pictures / "3")
  assert f"{folder} has finished its 10 steps" in resume(config, folder)[-1]
  assert folder.read_config().data.class_names == NUMBERS


def test_a_run_of_an_earlier_version_keeps_its_pictures(folder, pictures):
  """It knew no orientation, gave three channels to grey pictures, and numbered 1, 10, 2."""
  content = json.loads((folder.path / "config.json").read_text())
  content["version"] = 4
  del content["history"]
  newer = [
    (section, name)
    for section, dataclass in config_lib.sections().items()
    for name in content[section]
    if dataclass.__dataclass_fields__[name].metadata["since"] == 5
  ]
  for section, name in newer:
    del content[section][name]
  content["data"]["image_shape"] = [8, 8, 3]
  config = iddpm.Config.from_json(json.dumps(content))
  small_model.write(folder.path.parent / "old", config)
  (folder.path.parent / "old/config.json").write_text(json.dumps(content))
  old = model_dir_lib.ModelDir(folder.path.parent / "old")
  assert newer and notes(resume(config_of(pictures), old)) == []
  source = sources.load(old.read_config().data, "train")
  assert source.class_names == ("1", "10", "2") and source.images.shape == (12, 8, 8, 3)
  before = old.read_checksum()
  # The defaults of this version, given by a notebook, read the same images and labels.
  assert notes(resume(config_of(pictures), old)) == [] and old.read_checksum() == before
  assert before.checksum == sources.checksum(source)


def test_nll_in_training_is_of_val_where_there_is_one_beside_test(tmp_path):
  for split, grey in (("train", 10), ("val", 20), ("test", 30)):
    for i in range(10):
      draw(tmp_path / f"pictures/{split}/{'ab'[i % 2]}/{i}.png", grey)
  config = config_of(
    tmp_path / "pictures", eval_every=5, eval_scores=("nll",), eval_examples=4, eval_nll_steps=3
  )
  folder = model_dir_lib.ModelDir(tmp_path / "run")
  config = loop.resolve_config(config, sources.load(config.data, "train"), folder)
  recorder = recorder_lib.Recorder()
  source = periodic_evaluation._source_of("test", None, config, folder, recorder)
  assert source.images.max() == 20
  assert "nll in training is of the val split; the test split is for reporting" in recorder.lines
  assert sources.load(config.data, "test").images.max() == 30
