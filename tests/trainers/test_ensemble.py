"""Two models as one (Appendix D): sampled, scored and exported."""

import json

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.evaluation import results_log as results
from tests.trainers.conftest import SMALL


@pytest.fixture(name="vlb_dir", scope="module")
def fixture_vlb_dir(tmp_path_factory):
  """A model of L_vlb, of the process of `model_dir`, with a wider network."""
  from trainers import train
  from trainers.cli import command

  folder = tmp_path_factory.mktemp("runs") / "vlb"
  assert (
    command.run(
      train.main,
      train.Options,
      "",
      [
        "train",
        *SMALL,
        f"--model_dir={folder}",
        "--train_steps=5",
        "--objective=vlb",
        "--base_channels=64",
        "--seed=1",
      ],
    )
    == 0
  )
  return folder


def drawn(run, folder, *flags):
  result = run(
    "sample", f"--output_dir={folder}", "--num_samples=4", "--samplers=ancestral:5", *flags
  )
  assert result.status == 0, result.err
  (path,) = folder.glob("*.npz")
  return np.load(path)["arr_0"]


def test_an_ensemble_of_a_model_with_itself_is_the_model(run, model_dir, tmp_path):
  alone = drawn(run, tmp_path / "a", f"--model_dir={model_dir}")
  both = drawn(
    run,
    tmp_path / "b",
    f"--model_dir={model_dir}",
    f"--ensemble_dir={model_dir}",
    "--ensemble_steps=3",
  )
  np.testing.assert_array_equal(alone, both)


def test_the_ends_are_the_second_models(run, model_dir, vlb_dir, tmp_path):
  ensemble = (f"--model_dir={model_dir}", f"--ensemble_dir={vlb_dir}", "--ensemble_steps=4")
  by = {
    name: drawn(run, tmp_path / name, *flags)
    for name, flags in (
      ("hybrid", (f"--model_dir={model_dir}",)),
      ("vlb", (f"--model_dir={vlb_dir}",)),
      ("both", ensemble),
    )
  }
  for one, other in (("hybrid", "vlb"), ("hybrid", "both"), ("vlb", "both")):
    assert np.any(by[one] != by[other])
  terms = {}
  for name, flags in (
    ("hybrid", ensemble[:1]),
    ("vlb", (f"--model_dir={vlb_dir}",)),
    ("both", ensemble),
  ):
    assert (
      run(
        "evaluate", *flags, "--nll", "--num_examples=3", f"--output_dir={tmp_path / name / 'nll'}"
      ).status
      == 0
    )
    (path,) = (tmp_path / name / "nll").glob("nll_*.json")
    terms[name] = np.array(json.loads(path.read_text())["terms"])
  expected = terms["hybrid"].copy()
  expected[:4], expected[21:] = terms["vlb"][:4], terms["vlb"][21:]
  np.testing.assert_allclose(terms["both"], expected, rtol=1e-5)
  (line,) = results.read(tmp_path / "both/nll")
  assert (line["ensemble"], line["ensemble_steps"], line["ensemble_training_step"]) == (
    str(vlb_dir),
    4,
    5,
  )


def test_an_ensemble_is_estimated_scored_and_exported(run, model_dir, vlb_dir, tmp_path):
  flags = (
    f"--model_dir={model_dir}",
    f"--ensemble_dir={vlb_dir}",
    "--ensemble_steps=4",
    "--ensemble_ema=0.5",
    f"--output_dir={tmp_path}",
  )
  assert run("evaluate", *flags, "--nll", "--num_examples=3", "--nll_stderr=0.5").status == 0
  assert run("evaluate", *flags, "--fid", "--num_samples=70", "--samplers=ddim:5").status == 0
  estimated, scored = results.read(tmp_path)
  assert estimated["ensemble_ema"] == scored["ensemble_ema"] == 0.5
  assert run("export", *flags, "--verify", "--name=both", "--samplers=ancestral:5").status == 0
  images = tf.saved_model.load(tmp_path / "both/1").signatures["ancestral_5"](
    seed=tf.range(4, dtype=tf.int64), label=tf.range(4)
  )["image"]
  np.testing.assert_array_equal(images, drawn(run, tmp_path / "drawn", *flags[:-1]))


def test_models_that_do_not_go_together(run, model_dir, tmp_path):
  other = tmp_path / "other"
  assert (
    run("train", *SMALL, f"--model_dir={other}", "--train_steps=1", "--diffusion_steps=30").status
    == 0
  )
  common = ("sample", f"--model_dir={model_dir}", f"--output_dir={tmp_path / 'out'}")
  for flags, said in (
    (
      (f"--ensemble_dir={other}",),
      "--ensemble_dir: expected a model of the same diffusion_steps (25)",
    ),
    (("--ensemble_dir=no/such",), "--ensemble_dir: expected the folder of a run"),
    ((f"--ensemble_dir={model_dir}", "--ensemble_steps=13"), "--ensemble_steps: expected 1 to 12"),
    (
      (f"--ensemble_dir={model_dir}", "--ensemble_steps=3", "--ensemble_ema=0.3"),
      "--ensemble_ema: expected",
    ),
  ):
    result = run(*common, *flags)
    assert result.status == 2 and said in result.err, result.err
  assert not (tmp_path / "out").exists()
