"""Loading trained models, and two models as one."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.models import trained_model
from tests import small_model


def load(folder, **options):
  folder = model_dir_lib.ModelDir(folder)
  return trained_model.load(folder, folder.require_config(), **options)


@pytest.fixture(name="other_dir")
def fixture_other_dir(tmp_path):
  """A function that writes the folder of another model, without a checkpoint."""

  def write(**changes):
    folder = model_dir_lib.ModelDir(tmp_path / "other")
    folder.write_config(small_model.make_config(**changes))
    return str(folder)

  return write


def test_the_first_rate_is_the_default(model, model_dir):
  assert (model.step, model.ema) == (small_model.STEP, 0.9)
  assert str(model) == f"{model_dir}, step 10, EMA 0.9"
  raw = load(model_dir, ema=0)
  assert raw.ema == 0 and str(raw) == f"{model_dir}, step 10, raw weights"
  assert np.any(raw.network.out_conv.kernel.numpy() != model.network.out_conv.kernel.numpy())


def test_a_rate_that_does_not_exist_is_refused(model_dir):
  with pytest.raises(settings.InputError, match=r"^ema: expected one of 0.9, 0.5, 0, received"):
    load(model_dir, ema=0.7)


def test_a_young_average_is_noted(model_dir, tmp_path, recorder):
  load(model_dir, ema=0.5, progress=recorder)
  assert not recorder.lines  # The average spans fewer steps than the model has made.
  folder = tmp_path / "young"
  small_model.write(folder, small_model.make_config(ema=(0.999,)))
  load(folder, progress=recorder)
  (line,) = recorder.lines
  assert line.startswith("note: the average of rate 0.999 spans 1000 steps and the model has made")
  # The averages of an imported model began at its weights.
  model_dir_lib.ModelDir(folder).write_imported({})
  load(folder, progress=recorder)
  assert len(recorder.lines) == 1


def test_the_best_checkpoint_is_loaded(model_dir, tmp_path):
  folder = model_dir_lib.ModelDir(tmp_path / "run")
  shutil.copytree(model_dir, folder.path)
  shutil.copytree(folder.checkpoints, folder.best_checkpoints)
  folder.write_best(model_dir_lib.Best("fid", 1.0, small_model.STEP, 0.5, {}))
  shutil.rmtree(folder.checkpoints)
  assert load(folder.path, best=True).ema == 0.5
  assert load(folder.path, best=True, ema=0.9).ema == 0.9
  with pytest.raises(settings.InputError, match=r"^model_dir: expected a model with a checkpoint"):
    load(folder.path)


def test_the_model_as_a_function(model):
  x_t = tf.random.stateless_normal([2, 8, 8, 1], [0, 0])
  t = tf.constant([0.0, 400.0])
  output = model.model_fn(tf.constant([0, 1]))(x_t, t)
  assert output.shape == (2, 8, 8, 2)
  assert np.any(model.model_fn(tf.constant([1, 0]))(x_t, t) != output)
  np.testing.assert_array_equal(model.model_fn_for(x_t, tf.constant([0, 1]))(x_t, t), output)


def test_an_ensemble_takes_the_second_model_at_both_ends(model, model_dir):
  ensemble = trained_model.Ensemble(str(model_dir), steps=10, ema=0)
  both = trained_model.with_ends(model, ensemble)
  assert str(both).startswith(
    f"{model}; the first and last 10 timesteps by {model_dir}, step 10, raw"
  )
  x_t, label = tf.random.stateless_normal([3, 8, 8, 1], [0, 0]), tf.constant([0, 1, 2])
  t = tf.constant([9.0, 12.0, 15.0]) * 1000 / 25  # An end, the middle, and the other end.
  ends, middle, output = (each.model_fn(label)(x_t, t).numpy() for each in (both.ends, model, both))
  np.testing.assert_allclose(output[[0, 2]], ends[[0, 2]], rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(output[1], middle[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  "options, message",
  [
    ({"steps": 13}, "ensemble_steps: expected 1 to 12, half of the model's timesteps, received 13"),
    ({"steps": 0}, "ensemble_steps: expected 1 to 12, half of the model's timesteps, received 0"),
    ({"ema": 0.3}, "ensemble_ema: expected one of 0.9, 0.5, 0, received 0.3"),
  ],
)
def test_a_wrong_ensemble_is_refused(model, model_dir, options, message):
  ensemble = trained_model.Ensemble(str(model_dir), **{"steps": 5, **options})
  with pytest.raises(settings.InputError) as caught:
    trained_model.with_ends(model, ensemble)
  assert str(caught.value) == message


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"diffusion_steps": 30}, r"the same diffusion_steps \(25\), received .*other \(30\)"),
    ({"noise_schedule": "linear"}, "the same noise_schedule"),
    ({"class_conditional": False}, r"the same num_classes \(10\), received .*other \(0\)"),
    ({"low_res_size": 4}, "the same low_res_shape"),
    ({"image_shape": (4, 4, 1)}, "the same image_shape"),
  ],
)
def test_models_of_different_processes_or_images_are_refused(model, other_dir, changes, message):
  with pytest.raises(settings.InputError, match=f"^ensemble_dir: expected a model of {message}"):
    trained_model.with_ends(model, trained_model.Ensemble(other_dir(**changes), steps=5))


def test_a_folder_without_a_run_is_refused(model, tmp_path):
  message = "^ensemble_dir: expected the folder of a run, received .*none, which does not exist$"
  with pytest.raises(settings.InputError, match=message):
    trained_model.with_ends(model, trained_model.Ensemble(str(tmp_path / "none")))
