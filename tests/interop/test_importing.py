"""Tests of importing and exporting checkpoints in Python: plain arguments, errors and progress."""

import dataclasses
import json

import pytest

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.interop import exporting
from iddpm_tf.interop import importing
from iddpm_tf.interop import openai
from iddpm_tf.interop import state_dicts
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.models import trained_model
from tests.interop import checkpoints

TINY = checkpoints.TINY
CONFIG = config_lib.Config.from_settings(**checkpoints.SETTINGS)


class Lines:
  """A `Progress` that keeps what is said."""

  def __init__(self):
    self.lines = []

  def say(self, text):
    self.lines.append(text)


@pytest.fixture(name="checkpoint")
def fixture_checkpoint(tmp_path):
  """A file of a small network, named as the authors' training names it."""
  path = tmp_path / "model000700.safetensors"
  state_dicts.write_state_dict(path, checkpoints.random_weights(TINY.shapes()))
  return path


def load(folder, ema=None):
  folder = model_dir_lib.ModelDir(folder)
  return trained_model.load(folder, folder.require_config(), ema=ema)


def test_a_checkpoint_becomes_a_model_folder(tmp_path, checkpoint, capfd):
  progress = Lines()
  imported = importing.import_checkpoint(checkpoint, tmp_path / "run", CONFIG, progress=progress)
  weights = state_dicts.read_state_dict(checkpoint)
  parameters = sum(array.size for array in weights.values())
  assert progress.lines == [
    f"read {checkpoint}: {parameters:,} parameters, images of 8x8x1, no classes"
  ]
  assert imported.folder.path == tmp_path / "run"
  assert (imported.step, imported.step_is_known) == (700, True)
  assert imported.config == imported.folder.require_config()
  assert imported.config.data.image_shape == (8, 8, 1)
  record = json.loads(imported.folder.imported.read_text())
  assert record == {"checkpoint": checkpoint.name, "step": 700}
  assert imported.folder.newest_step() == 700
  for ema in (*CONFIG.training.ema, 0):
    loaded = openai.to_state_dict(load(tmp_path / "run", ema).network)
    assert all(loaded[name].tobytes() == array.tobytes() for name, array in weights.items())
  assert not any(capfd.readouterr())


def test_an_unknown_step_is_0(tmp_path, checkpoint):
  checkpoint = checkpoint.rename(tmp_path / "mine.safetensors")
  imported = importing.import_checkpoint(str(checkpoint), str(tmp_path / "run"), CONFIG)
  assert (imported.step, imported.step_is_known) == (0, False)


def test_the_step_takes_precedence_over_the_name_and_data_dir_becomes_absolute(
  tmp_path, checkpoint, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  config = CONFIG.with_settings(data_dir="pictures")
  imported = importing.import_checkpoint(checkpoint, "run", config, step=3)
  assert (imported.step, imported.step_is_known, imported.folder.newest_step()) == (3, True, 3)
  assert imported.config.data.data_dir == str(tmp_path / "pictures")


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"image_size": 0}, "image_size: expected the height of the model's images"),
    ({"samplers": ("ddim:26",)}, "samplers: expected at most 25 steps"),
    (
      {"base_channels": 64, "num_res_blocks": 2},
      "model000700.safetensors: expected time_embed.0.weight of shape (256, 64), received shape "
      "(128, 32); 2 settings differ: base_channels is 32 in the checkpoint and 64 in the "
      "configuration; num_res_blocks is 1 in the checkpoint and 2 in the configuration",
    ),
  ],
)
def test_wrong_settings_are_named_and_leave_nothing(tmp_path, checkpoint, changes, message):
  with pytest.raises(settings.InputError) as error:
    importing.import_checkpoint(checkpoint, tmp_path / "run", CONFIG.with_settings(**changes))
  assert message in str(error.value) and "--" not in str(error.value)
  assert list(tmp_path.iterdir()) == [checkpoint]


@pytest.mark.parametrize("step", (-1, 2**31))
def test_impossible_steps_are_refused(tmp_path, checkpoint, step):
  with pytest.raises(settings.InputError, match="step: expected a number from 0 to 2147483647"):
    importing.import_checkpoint(checkpoint, tmp_path / "run", CONFIG, step=step)


def test_missing_checkpoints_and_full_folders_are_refused(tmp_path, checkpoint):
  for name, message in (("x.pt", "which does not exist"), ("x.ckpt", "ends in .pt or")):
    with pytest.raises(settings.InputError, match=f"^checkpoint: expected .*{message}"):
      importing.import_checkpoint(tmp_path / name, tmp_path / "run", CONFIG)
  for folder, message in ((tmp_path, "which holds model000700"), (checkpoint, "which is a file")):
    with pytest.raises(settings.InputError, match=f"^model_dir: expected a new .*{message}"):
      importing.import_checkpoint(checkpoint, folder, CONFIG)


def test_an_export_has_the_bytes_of_the_import(tmp_path, checkpoint):
  importing.import_checkpoint(checkpoint, tmp_path / "run", CONFIG)
  model = load(tmp_path / "run")
  output = exporting.export_checkpoint(model, tmp_path / "new" / "x.safetensors")
  assert output.read_bytes() == checkpoint.read_bytes()
  with pytest.raises(
    settings.InputError, match=r"^output: expected a new file, received .* exists"
  ):
    exporting.export_checkpoint(model, output)
  with pytest.raises(settings.InputError, match=r"^model: expected one model"):
    exporting.export_checkpoint(dataclasses.replace(model, ends=model), tmp_path / "y.safetensors")
  with pytest.raises(settings.InputError, match=r"^output: expected a file that ends in"):
    exporting.export_checkpoint(model, tmp_path / "y.ckpt")
  with pytest.raises(settings.InputError, match=r"^output: expected .* that can be written"):
    exporting.export_checkpoint(model, "/proc/none/x.safetensors")
