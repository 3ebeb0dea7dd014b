"""Scores during training: curves, results, the best checkpoint, and what a killed run leaves."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.evaluation import results_log
from iddpm_tf.models import checkpoints
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.models import trained_model
from iddpm_tf.training import periodic_evaluation
from tests import small_model

FLAGS = (
  *small_model.FLAGS,
  "--train_steps=12",
  "--save_every=5",
  "--eval_every=4",
  "--eval_samples=70",
  "--eval_scores=fid,nll,nll_train",
  "--eval_examples=6",
  "--eval_nll_steps=5",
  "--samplers=ddim:5",
)


@pytest.fixture(autouse=True)
def fixture_sharing(shared_graphs):
  """Makes every training share its graphs with those of other tests."""


@pytest.fixture(name="trained", scope="module")
def fixture_trained(graphs, tmp_path_factory):
  """A run of 12 steps with evaluations after 4, 8 and 12."""
  from trainers import train

  folder = tmp_path_factory.mktemp("runs") / "evaluated"
  with pytest.MonkeyPatch.context() as monkeypatch, graphs.used(monkeypatch):
    assert train.COMMAND.run(["train", *FLAGS, "--best_score=fid", f"--model_dir={folder}"]) == 0
  return folder


def lines(folder):
  return [(line["training_step"], line["ema"], line["scores"]) for line in results_log.read(folder)]


def curves(folder):
  """Returns {tag: [(step, value)]} of TensorBoard's events."""
  points = {}
  for path in sorted((folder / "tensorboard").iterdir()):
    for event in tf.compat.v1.train.summary_iterator(str(path)):
      for value in event.summary.value:
        if value.tag.startswith("evaluation_"):
          points.setdefault(value.tag, []).append(
            (event.step, float(tf.make_ndarray(value.tensor)))
          )
  return points


def test_every_rate_is_scored_at_every_interval(trained):
  assert [(step, ema) for step, ema, _ in lines(trained)] == [
    (step, ema) for step in (4, 8, 12) for ema in (0.9, 0.5)
  ]
  for line in results_log.read(trained):
    assert set(line["scores"]) == {"fid", "nll", "nll_train"} and all(
      np.isfinite(v) for v in line["scores"].values()
    )
    assert line["in_training"] and line["sampler"] == "ddim_5" and line["num_samples"] == 70
    assert (
      line["num_examples"] == line["num_examples_train"] == 6
      and line["num_timesteps"] == 9
      and line["reference_about"]["split"] == "train"
    )


def test_tensorboard_has_one_chart_per_score_with_one_curve_per_rate(trained):
  found = curves(trained)
  assert set(found) == {
    f"evaluation_{name}/ema_{ema}" for name in ("fid", "nll", "nll_train") for ema in (0.9, 0.5)
  }
  for ema in (0.9, 0.5):
    expected = [(step, scores["fid"]) for step, rate, scores in lines(trained) if rate == ema]
    assert [step for step, _ in found[f"evaluation_fid/ema_{ema}"]] == [4, 8, 12]
    np.testing.assert_allclose(
      [value for _, value in found[f"evaluation_fid/ema_{ema}"]],
      [value for _, value in expected],
      rtol=1e-6,
    )


def test_the_best_checkpoint_is_kept_and_used_by_every_command(run, trained, tmp_path):
  step, ema, scores = min(lines(trained), key=lambda line: line[2]["fid"])
  found = model_dir_lib.ModelDir(trained).read_best()
  assert found[:4] == ("fid", scores["fid"], step, ema)
  assert found.measured["num_samples"] == 70 and found.measured["sampler"] == "ddim_5"
  assert {path.stem for path in (trained / "best").glob("step-*.index")} == {f"step-{step}"}
  assert (
    run(
      "evaluate",
      f"--model_dir={trained}",
      f"--output_dir={tmp_path}",
      "--best",
      "--fid",
      "--samplers=ddim:5",
      "--num_samples=70",
    ).status
    == 0
  )
  (line,) = results_log.read(tmp_path)
  assert (line["training_step"], line["ema"]) == (step, ema)
  assert line["scores"]["fid"] == pytest.approx(scores["fid"], rel=1e-6)
  assert (
    f"step {step}"
    in run(
      "sample", f"--model_dir={trained}", f"--output_dir={tmp_path}", "--best", "--num_samples=2"
    ).out
  )


def test_the_scores_in_training_are_those_of_evaluate(run, trained, tmp_path):
  last = {ema: scores for step, ema, scores in lines(trained) if step == 12}
  for ema in (0.9, 0.5):
    output = tmp_path / str(ema)
    assert (
      run(
        "evaluate",
        f"--model_dir={trained}",
        f"--output_dir={output}",
        f"--ema={ema}",
        "--fid",
        "--nll",
        "--samplers=ddim:5",
        "--num_samples=70",
        "--num_examples=6",
        "--nll_steps=5",
      ).status
      == 0
    )
    found = {
      name: value for line in results_log.read(output) for name, value in line["scores"].items()
    }
    assert found["fid"] == pytest.approx(last[ema]["fid"], rel=1e-6)
    (path,) = output.glob("nll*.json")
    assert json.loads(path.read_text())["bits_per_dim"] == pytest.approx(last[ema]["nll"], rel=1e-6)


def test_a_better_checkpoint_is_kept_beside_what_a_kill_left(run, trained, tmp_path):
  """TensorFlow writes into a folder step-N_temp first."""
  folder = tmp_path / "run"
  (folder / "best/step-2_temp").mkdir(parents=True)
  shutil.copy(trained / "config.json", folder)
  assert (
    run("train", *FLAGS, "--eval_scores=fid", "--best_score=fid", f"--model_dir={folder}").status
    == 0
  )
  assert len(list((folder / "best").glob("step-*.index"))) == 1


def test_evaluations_do_not_change_the_training(run, trained, tmp_path):
  assert (
    run(
      "train",
      *small_model.FLAGS,
      "--train_steps=12",
      "--save_every=5",
      "--samplers=ddim:5",
      f"--model_dir={tmp_path / 'plain'}",
    ).status
    == 0
  )
  folders = [model_dir_lib.ModelDir(folder) for folder in (trained, tmp_path / "plain")]
  config = folders[0].require_config()
  ours, plain = (trained_model.load(folder, config, ema=0.9).network for folder in folders)
  for variable, other in zip(ours.trainable_variables, plain.trainable_variables):
    np.testing.assert_array_equal(variable.value, other.value)


@pytest.mark.parametrize("killed_at", [4, 12])
def test_an_evaluation_that_was_killed_is_repeated(run, tmp_path, monkeypatch, killed_at):
  class Killed(BaseException):
    pass

  score = periodic_evaluation._SampleScores.score

  def kill(self, model, stop):
    if model.step == killed_at:
      raise Killed
    return score(self, model, stop)

  flags = (*FLAGS, "--eval_scores=fid", f"--model_dir={tmp_path / 'run'}")
  with monkeypatch.context() as patch:
    patch.setattr(periodic_evaluation._SampleScores, "score", kill)
    with pytest.raises(Killed):
      run("train", *flags)
  assert run("train", *flags).status == 0
  assert [(step, ema) for step, ema, _ in lines(tmp_path / "run")] == [
    (step, ema) for step in (4, 8, 12) for ema in (0.9, 0.5)
  ]


def test_the_best_checkpoint_depends_on_the_direction_of_the_score(tmp_path, monkeypatch):
  class Unsaved:
    def __init__(self, *_, **__):
      pass

    def save(self, step):
      del step

    delete_others = save

  monkeypatch.setattr(checkpoints, "Checkpoints", Unsaved)
  folder = model_dir_lib.ModelDir(tmp_path)

  def offered(score, *values, step=1, count=70):
    candidates = [
      model_dir_lib.Best(score, value, step, float(rate), {"num_samples": count})
      for rate, value in enumerate(values)
    ]
    return checkpoints.keep_if_better(candidates, None, folder)

  assert offered("fid", 3.0, 2.0) and folder.read_best().ema == 1
  assert not offered("fid", 2.0) and not offered("fid", 2.5) and offered("fid", 1.5, 1.9)
  assert folder.read_best().ema == 0
  # Another score is not comparable.
  assert (
    offered("recall_k3", 0.2) and offered("recall_k3", 0.1, 0.3) and not offered("recall_k3", 0.25)
  )
  assert folder.read_best().value == 0.3
  # Nor is another way to measure it, or a best step that the run has not reached yet.
  assert offered("recall_k3", 0.1, count=7) and not offered("recall_k3", 0.05, count=7)
  assert offered("recall_k3", 0.2, count=7, step=5) and offered("recall_k3", 0.1, count=7, step=4)
  assert not offered("recall_k3", float("nan"), count=7, step=6) and folder.read_best().value == 0.1
  assert (
    offered("recall_k3", float("nan"), 0.3, count=7, step=6) and folder.read_best().value == 0.3
  )


def refused(run, folder, *flags):
  result = run("train", *FLAGS, f"--model_dir={folder}", *flags)
  assert result.status == 2 and result.err.splitlines()[-1].startswith("train: ")
  return result.err.splitlines()[-1]


def test_bad_input(run, trained, tmp_path, model_dir):
  assert "--eval_features: " in refused(run, tmp_path / "a", "--eval_features=no.pb")
  assert "--eval_reference: " in refused(run, tmp_path / "a", "--eval_reference=no.npz")
  assert "--eval_examples: expected at most 360" in refused(
    run, tmp_path / "a", "--eval_examples=361"
  )
  assert "--eval_nll_steps: expected at most" in refused(run, tmp_path / "a", "--eval_nll_steps=26")
  assert "--eval_samples: expected more than 5" in refused(
    run, tmp_path / "a", "--eval_scores=precision_recall", "--eval_samples=5"
  )
  nan, one = tmp_path / "nan.npz", tmp_path / "one.npz"
  np.savez(nan, mu=np.full(64, np.nan), sigma=np.eye(64))
  np.savez(one, mu=np.zeros(64), sigma=np.eye(64), arr_0=np.zeros((1, 8, 8, 1), np.uint8))
  assert "expected a finite mean" in refused(run, tmp_path / "a", f"--eval_reference={nan}")
  assert "--eval_reference: expected 6 images or more" in refused(
    run, tmp_path / "a", f"--eval_reference={one}", "--eval_scores=precision_recall"
  )
  assert "--best_score" in refused(run, tmp_path / "a", "--best_score=recall_k3")
  assert "--best_score: expected no value without" in refused(
    run, tmp_path / "a", "--eval_scores=fid", "--best_score=fid", "--eval_every=0"
  )
  assert not (tmp_path / "a").exists()
  # The training starts once the settings are right.
  assert run("train", *FLAGS, f"--model_dir={tmp_path / 'a'}", "--train_steps=1").status == 0
  result = run("sample", f"--model_dir={model_dir}", "--best")
  assert result.status == 2 and "--best: expected a run that keeps its best" in result.err
  (tmp_path / "a/best.json").write_text("{}")
  assert "best.json: expected score" in refused(run, tmp_path / "a")
  assert "best.json" in run("sample", f"--model_dir={tmp_path / 'a'}", "--best").err
