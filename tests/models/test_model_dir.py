"""The layout of the model folder."""

import json

import numpy as np
import pytest

from iddpm_tf import settings
from iddpm_tf.data import sources
from iddpm_tf.models import model_dir as model_dir_lib
from tests import small_model

CONFIG = small_model.make_config()
BEST = model_dir_lib.Best("fid", 3.5, 10, 0.9, {"num_samples": 70})


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
  """A folder with a configuration."""
  folder = model_dir_lib.ModelDir(tmp_path / "runs" / "one")
  folder.write_config(CONFIG)
  return folder


def test_the_layout_is_that_of_earlier_versions(tmp_path):
  folder = model_dir_lib.ModelDir(tmp_path)
  places = {
    name: path.relative_to(tmp_path).as_posix()
    for name, path in vars(folder).items()
    if name != "path"
  }
  assert places == {
    "checkpoints": "checkpoints",
    "best_checkpoints": "best",
    "tensorboard": "tensorboard",
    "progress": "progress.csv",
    "samples": "samples",
    "evaluations": "evaluations",
    "results": "results.jsonl",
    "imported": "imported.json",
    "initialised": "init_from.json",
    "checksum": "images.crc32",
    "status": "status.json",
  }
  assert folder.checkpoint_path(folder.checkpoints, 500) == tmp_path / "checkpoints/step-500"
  assert model_dir_lib.step_of("checkpoints/step-500") == 500
  assert str(folder) == str(tmp_path)


def test_a_configuration_is_written_and_read(folder):
  assert folder.read_config() == folder.require_config() == CONFIG
  assert json.loads((folder.path / "config.json").read_text())["version"] == 10


def test_a_new_or_empty_folder_has_no_run(tmp_path):
  missing, empty = model_dir_lib.ModelDir(tmp_path / "new"), model_dir_lib.ModelDir(tmp_path)
  # A killed process leaves a temporary file of config.json.
  (tmp_path / ".0f3a-config.json").touch()
  for folder, state in ((missing, "does not exist"), (empty, "is empty")):
    assert folder.read_config() is None and folder.newest_step() == 0
    message = f"^model_dir: expected the folder of a run, received {folder}, which {state}$"
    with pytest.raises(settings.InputError, match=message):
      folder.require_config()


def test_another_folder_is_refused(tmp_path):
  (tmp_path / "photo.png").touch()
  message = f"^model_dir: expected a folder with config.json, or an empty or new one, .*{tmp_path}$"
  with pytest.raises(settings.InputError, match=message):
    model_dir_lib.ModelDir(tmp_path).read_config()


def test_a_damaged_configuration_is_refused(folder):
  (folder.path / "config.json").write_text("{")
  message = "config.json: expected the configuration of a run: config: expected JSON"
  with pytest.raises(settings.InputError, match=message):
    folder.read_config()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
  (tmp_path / "file").touch()
  message = "^model_dir: expected a folder that can be written, received"
  with pytest.raises(settings.InputError, match=message):
    model_dir_lib.ModelDir(tmp_path / "file" / "run").write_config(CONFIG)


def test_some_settings_of_a_run_can_change(folder):
  config = folder.changed_config({"samplers": ("ddim:5",), "precision": "mixed_bfloat16"})
  assert config == CONFIG.with_settings(samplers=("ddim:5",), precision="mixed_bfloat16")
  assert folder.changed_config({"samplers": None, "fixed_variance": None}) == CONFIG
  message = f"^dropout: expected 0.0, the value in {folder.path}, received 0.5$"
  with pytest.raises(settings.InputError, match=message):
    folder.changed_config({"dropout": 0.5})


def test_the_variance_can_change_where_none_is_learned(folder):
  message = "^fixed_variance: expected no value for a model that learns its variance"
  with pytest.raises(settings.InputError, match=message):
    folder.changed_config({"fixed_variance": "fixed_small"})
  simple = CONFIG.with_settings(objective="simple", variance_type="fixed_large")
  folder.write_config(simple)
  config = folder.changed_config({"fixed_variance": "fixed_small"})
  assert config == simple.with_settings(variance_type="fixed_small")
  message = "^fixed_variance: expected fixed_small or fixed_large, received 'learned'$"
  with pytest.raises(settings.InputError, match=message):
    folder.changed_config({"fixed_variance": "learned"})


def test_steps_are_those_of_checkpoints_with_an_index(folder):
  folder.checkpoints.mkdir()
  for name in ("step-5.index", "step-25.index", "step-30.data-00000-of-00001", "step-40_temp"):
    (folder.checkpoints / name).touch()
  assert folder.checkpoint_steps(folder.checkpoints) == {5, 25} and folder.newest_step() == 25


def test_the_record_of_the_best_checkpoint_is_written_and_read(folder):
  assert folder.read_best() is None
  message = "^best: expected a run that keeps its best checkpoint .* which has no best.json$"
  with pytest.raises(settings.InputError, match=message):
    folder.require_best()
  folder.write_best(BEST)
  assert folder.read_best() == folder.require_best() == BEST
  assert json.loads((folder.path / "best.json").read_text()) == {
    "score": "fid",
    "value": 3.5,
    "step": 10,
    "ema": 0.9,
    "measured": {"num_samples": 70},
  }


@pytest.mark.parametrize("text", ["{}", "[]", "", "{", json.dumps({**BEST._asdict(), "step": "5"})])
def test_a_damaged_record_of_the_best_checkpoint_is_refused(folder, text):
  (folder.path / "best.json").write_text(text)
  message = "best.json: expected score, value, step, ema and measured, received another file"
  with pytest.raises(settings.InputError, match=message):
    folder.read_best()


def test_the_origin_of_imported_weights_is_written_and_read(folder):
  assert not folder.imported.exists()
  folder.write_imported({"file": "weights.pt"})
  assert json.loads(folder.imported.read_text()) == {"file": "weights.pt"}


def test_data_must_have_the_images_and_the_classes_of_the_run(folder):
  def require(shape, classes, config=CONFIG):
    source = sources.Source("other", np.zeros([2, *shape], np.uint8), np.zeros(2, int), classes)
    model_dir_lib.require_same_data(config, source, folder.path)

  require((8, 8, 1), 10)
  # The number of classes matters to a class-conditional model only.
  require((8, 8, 1), 3, CONFIG.with_settings(class_conditional=False))
  for shape, classes, received in (
    ((8, 8, 1), 3, "8x8x1 in 3 classes"),
    ((8, 8, 3), 10, "8x8x3 in 10 classes"),
  ):
    with pytest.raises(settings.InputError) as caught:
      require(shape, classes)
    assert str(caught.value) == (
      f"dataset: expected images of 8x8x1 in 10 classes, as {folder.path} has, "
      f"received {received} (other)"
    )
