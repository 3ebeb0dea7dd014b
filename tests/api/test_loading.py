"""Loading model folders and exports, and exporting."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

import iddpm_tf as iddpm
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.serving import layout
from tests import small_model

IMAGES_ONLY = iddpm.ServableConfig(png=False, warmup=())


@pytest.fixture(name="exported_path", scope="module")
def fixture_exported_path(model, tmp_path_factory):
  """The folder of an export of two samplers."""
  folder = tmp_path_factory.mktemp("exports") / "saved_models" / "small"
  samplers = ["ddim:5", "ancestral:2"]
  path = model.export(folder, samplers=samplers, config=IMAGES_ONLY, verify=True, progress=False)
  assert path == folder / "1"
  return folder


@pytest.fixture(name="exported", scope="module")
def fixture_exported(exported_path):
  """The export, loaded."""
  return iddpm.load(exported_path)


def test_weights_are_chosen_by_their_rate(model, model_dir):
  x_t = np.zeros([1, 8, 8, 1])
  raw, other = (iddpm.load(model_dir, ema=ema, progress=False) for ema in (0, 0.5))
  assert (raw.ema, other.ema, model.ema) == (0, 0.5, 0.9)
  predictions = [each.predict(x_t, 0, [0]) for each in (model, raw, other)]
  assert np.any(predictions[0] != predictions[1]) and np.any(predictions[0] != predictions[2])


def test_some_settings_can_be_changed(model_dir):
  changes = {"samplers": ("ddim:5",), "clip_denoised": False}
  config = iddpm.load(model_dir, changes=changes, progress=False).config
  assert config.sampling.samplers == ("ddim:5",) and not config.sampling.clip_denoised


def test_the_best_checkpoint_is_loaded(model_dir, tmp_path):
  folder = model_dir_lib.ModelDir(tmp_path / "run")
  shutil.copytree(model_dir, folder.path)
  with pytest.raises(iddpm.InputError, match=r"^best: expected a run that keeps its best"):
    iddpm.load(folder.path, best=True)
  shutil.copytree(folder.checkpoints, folder.best_checkpoints)
  folder.write_best(model_dir_lib.Best("fid", 1.0, small_model.STEP, 0.5, {}))
  assert iddpm.load(folder.path, best=True, progress=False).ema == 0.5


def test_the_checkpoint_of_a_step_is_loaded(trained_dir):
  older, newest = (iddpm.load(trained_dir, step=step, progress=False) for step in (5, None))
  assert (older.step, newest.step) == (5, small_model.STEP)
  x_t = np.zeros([1, 8, 8, 1])
  assert np.any(older.predict(x_t, 0, [0]) != newest.predict(x_t, 0, [0]))
  for options, message in (
    ({"step": 7}, r"^step: expected one of the checkpoints of .*: 5, 10, received 7$"),
    ({"step": 5, "best": True}, r"^step: cannot be combined with best$"),
  ):
    with pytest.raises(iddpm.InputError, match=message):
      iddpm.load(trained_dir, **options)


def test_an_ensemble_is_a_folder_or_has_options(model_dir):
  by_folder = iddpm.load(model_dir, ensemble=iddpm.Ensemble(str(model_dir), steps=10, ema=0.5))
  assert "the first and last 10 timesteps by" in repr(by_folder)
  with pytest.raises(iddpm.InputError, match=r"^ensemble\.steps: expected 1 to 12.*received 100$"):
    iddpm.load(model_dir, ensemble=model_dir)  # Its default is that of the paper.


def test_young_averages_are_noted(tmp_path, recorder):
  config = small_model.make_config(ema=(0.9999,))
  iddpm.load(small_model.write(tmp_path / "young", config), progress=recorder)
  (line,) = recorder.lines
  assert line.startswith("note: the average of rate 0.9999 spans 10000 steps")


def test_an_export_draws_the_images_of_the_model(model, exported, exported_path, capfd):
  assert isinstance(exported, iddpm.ExportedModel)
  assert exported.samplers == ("ancestral_2", "ddim_5")
  assert exported.config == model.config and exported.path == exported_path / "1"
  assert repr(exported) == f"ExportedModel('{exported_path}/1')"
  options = {"labels": [3, 1], "seed": 7, "progress": False}
  images = model.sample(4, sampler="ddim:5", **options)
  for sampler in (None, "ddim:5", "ddim_5"):
    np.testing.assert_array_equal(exported.sample(4, sampler=sampler, **options), images)
  assert np.any(exported.sample(4, sampler="ancestral:2", **options) != images)
  assert capfd.readouterr() == ("", "")
  assert exported.sample(seed=[7, 8], labels=[3, 1], batch_size=1).shape == (2, 8, 8, 1)
  assert "serving_default" in capfd.readouterr().err


def test_a_version_can_be_chosen(model, tmp_path):
  folder = tmp_path / "small"
  for version in ("1", "12"):
    tf.saved_model.save(tf.Module(), str(folder / version))
    assets = folder / version / layout.ASSETS
    assets.mkdir()
    (assets / layout.CONFIG).write_text(model.config.to_json())
  assert iddpm.load(folder).path == folder / "12"
  assert iddpm.load(folder / "1").path == folder / "1"
  (folder / "13").mkdir()  # It holds no export.
  assert iddpm.load(folder).path == folder / "12"
  with pytest.raises(iddpm.InputError, match=r"^version: expected .*, received"):
    model.export(folder, version=12)


def test_an_export_of_a_super_resolution_model_enlarges_images(tmp_path):
  config = small_model.make_config(low_res_size=4, samplers=("ddim:1",))
  model = iddpm.load(small_model.write(tmp_path / "run", config), progress=False)
  exported = iddpm.load(model.export(tmp_path / "upsampler", config=IMAGES_ONLY, progress=False))
  small = np.random.default_rng(0).integers(0, 256, [3, 4, 4, 1], np.uint8)
  images = model.sample(low_res=small, progress=False)
  np.testing.assert_array_equal(exported.sample(low_res=small, progress=False), images)
  message = "^low_res: expected images of 4x4x1, because this model enlarges them, received none$"
  with pytest.raises(iddpm.InputError, match=message):
    exported.sample(1)


WRONG = {
  "no model": (
    lambda folder, export: iddpm.load("nowhere"),
    "path: expected the folder of a run, received nowhere, which does not exist",
  ),
  "a rate that does not exist": (
    lambda folder, export: iddpm.load(folder, ema=0.7),
    "ema: expected one of 0.9, 0.5, 0, received 0.7",
  ),
  "an unknown setting": (
    lambda folder, export: iddpm.load(folder, changes={"sampler": ("ddim:5",)}),
    "sampler: expected the name of a setting, received an unknown one; did you mean samplers?",
  ),
  "a setting of the weights": (
    lambda folder, export: iddpm.load(folder, changes={"base_channels": 64}),
    "base_channels: expected 32, the value in {folder}, received 64",
  ),
  "a rate of an export": (
    lambda folder, export: iddpm.load(export.path, ema=0.9),
    "ema: expected no value for an exported model, received 0.9",
  ),
  "changes of an export": (
    lambda folder, export: iddpm.load(export.path, changes={"clip_denoised": False}),
    "changes: expected no value for an exported model, received {{'clip_denoised': False}}",
  ),
  "a sampler that was not exported": (
    lambda folder, export: export.sample(1, sampler="ddim:10"),
    "sampler: expected one of ancestral_2, ddim_5, received 'ddim:10'",
  ),
  "a class of an export out of range": (
    lambda folder, export: export.sample(1, labels=[10]),
    "labels: expected classes from 0 to 9, received [10]",
  ),
  "a scale that an export does not take": (
    lambda folder, export: export.sample(1, classifier_scale=1.0),
    "classifier_scale: expected none, because the exported model has no such input, received 1.0",
  ),
  "images to enlarge": (
    lambda folder, export: export.sample(1, low_res=np.zeros([1, 4, 4, 1], np.uint8)),
    "low_res: expected none, because the model draws from noise alone, received images",
  ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_refused(model_dir, exported, name):
  call, message = WRONG[name]
  with pytest.raises(iddpm.InputError) as caught:
    call(model_dir, exported)
  assert str(caught.value) == message.format(folder=model_dir)


def test_another_saved_model_is_refused(tmp_path):
  tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
  message = "other: expected an export of this package, received another SavedModel"
  with pytest.raises(iddpm.InputError, match=message):
    iddpm.load(tmp_path / "other")


def test_exports_that_are_impossible_are_refused(model, tmp_path):
  for samplers, message in (
    (["ddim:50"], "samplers: expected at most 25 steps"),
    (["dpm"], "samplers: expected NAME"),
  ):
    with pytest.raises(iddpm.InputError, match=f"^{message}"):
      model.export(tmp_path / "small", samplers=samplers)
  with pytest.raises(iddpm.InputError, match=r"^upsampler: expected a super-resolution model"):
    model.export(tmp_path / "small", upsampler=model)
  assert not any(tmp_path.iterdir())
