"""Two models as one (Appendix D): sampled, scored and exported."""

import json

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.evaluation import results_log
from tests import small_model

SAMPLER = "--samplers=ancestral:5"


@pytest.fixture(name="vlb_dir", scope="module")
def fixture_vlb_dir(tmp_path_factory):
  """A model of L_vlb with the process of `model_dir` and a wider network."""
  config = small_model.make_config(objective="vlb", base_channels=64)
  return small_model.write(tmp_path_factory.mktemp("runs") / "vlb", config, seed=1)


def ensemble(model_dir, vlb_dir):
  """Returns the flags of the ensemble that the tests share."""
  second = (f"--ensemble_dir={vlb_dir}", "--ensemble_steps=4", "--ensemble_ema=0.5")
  return (f"--model_dir={model_dir}", *second)


def draw(run, folder, *flags):
  """Draws four images into a new folder, and returns them."""
  result = run("sample", f"--output_dir={folder}", "--num_samples=4", SAMPLER, *flags)
  assert result.status == 0, result.err
  (path,) = folder.glob("*.npz")
  return np.load(path)["arr_0"]


def test_an_ensemble_of_a_model_with_itself_is_the_model(run, model_dir, tmp_path):
  alone = draw(run, tmp_path / "a", f"--model_dir={model_dir}")
  flags = (f"--model_dir={model_dir}", f"--ensemble_dir={model_dir}", "--ensemble_steps=3")
  np.testing.assert_array_equal(alone, draw(run, tmp_path / "b", *flags))


def test_the_second_model_takes_the_first_and_the_last_timesteps(run, model_dir, vlb_dir, tmp_path):
  flags = {
    "hybrid": (f"--model_dir={model_dir}",),
    "vlb": (f"--model_dir={vlb_dir}", "--ema=0.5"),
    "both": ensemble(model_dir, vlb_dir),
  }
  images, terms = {}, {}
  for name, models in flags.items():
    images[name] = draw(run, tmp_path / name, *models)
    output = tmp_path / name / "nll"
    result = run("evaluate", *models, "--nll", "--num_examples=3", f"--output_dir={output}")
    assert result.status == 0, result.err
    (path,) = output.glob("nll_*.json")
    terms[name] = np.array(json.loads(path.read_text())["terms"])
  for first, other in (("hybrid", "vlb"), ("hybrid", "both"), ("vlb", "both")):
    assert np.any(images[first] != images[other])
  expected = terms["hybrid"].copy()
  expected[:4], expected[21:] = terms["vlb"][:4], terms["vlb"][21:]
  np.testing.assert_allclose(terms["both"], expected, rtol=1e-5)
  (line,) = results_log.read(tmp_path / "both/nll")
  assert line["ensemble"] == str(vlb_dir)
  assert (line["ensemble_steps"], line["ensemble_training_step"]) == (4, small_model.STEP)


def test_an_ensemble_is_estimated_scored_and_exported(run, model_dir, vlb_dir, tmp_path):
  flags = (*ensemble(model_dir, vlb_dir), f"--output_dir={tmp_path}")
  assert run("evaluate", *flags, "--nll", "--num_examples=3", "--nll_stderr=0.5").status == 0
  assert run("evaluate", *flags, "--fid", "--num_samples=70", SAMPLER).status == 0
  estimated, scored = results_log.read(tmp_path)
  assert estimated["ensemble_ema"] == scored["ensemble_ema"] == 0.5
  assert run("export", *flags, "--verify", "--name=both", SAMPLER).status == 0
  images = tf.saved_model.load(tmp_path / "both/1").signatures["ancestral_5"](
    seed=tf.range(4, dtype=tf.int64), label=tf.range(4)
  )["image"]
  np.testing.assert_array_equal(images, draw(run, tmp_path / "drawn", *flags[:-1]))


def test_models_that_do_not_fit_together_are_refused(run, model_dir, tmp_path):
  other = small_model.write(tmp_path / "other", small_model.make_config(diffusion_steps=30))
  itself = f"--ensemble_dir={model_dir}"
  for flags, message in (
    (
      (f"--ensemble_dir={other}",),
      "--ensemble_dir: expected a model of the same diffusion_steps (25)",
    ),
    (("--ensemble_dir=no/such",), "--ensemble_dir: expected the folder of a run"),
    ((itself, "--ensemble_steps=13"), "--ensemble_steps: expected 1 to 12"),
    ((itself, "--ensemble_steps=3", "--ensemble_ema=0.3"), "--ensemble_ema: expected"),
  ):
    result = run("sample", f"--model_dir={model_dir}", f"--output_dir={tmp_path / 'out'}", *flags)
    assert result.status == 2 and message in result.err, result.err
  assert not (tmp_path / "out").exists()
