"""Evaluations during training: curves, results, the best checkpoint, and what a kill leaves."""

import json
import shutil

import numpy as np
from PIL import Image
import pytest

import iddpm_tf as iddpm
from iddpm_tf.evaluation import reference
from iddpm_tf.evaluation import results_log
from iddpm_tf.models import batched_sampling
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.models import out_of_range
from iddpm_tf.models import seeds
from iddpm_tf.training import periodic_evaluation
from iddpm_tf.utils import progress as progress_lib
from tests import small_model
from tests.training import events

SEED = 3
MAX_EXAMPLES = 300
TRAINING = (
  *small_model.FLAGS,
  f"--max_examples={MAX_EXAMPLES}",
  "--train_steps=12",
  "--save_every=5",
  "--samplers=ddim:5",
  f"--seed={SEED}",
)
FLAGS = (
  *TRAINING,
  "--eval_every=4",
  "--eval_samples=70",
  "--eval_scores=fid,nll,nll_train",
  "--eval_examples=6",
  "--eval_nll_steps=5",
)
SAMPLES = ("--fid", "--samplers=ddim:5", "--num_samples=70", f"--seed={SEED}")


@pytest.fixture(name="trained", scope="module")
def fixture_trained(graphs, tmp_path_factory):
  """A run of 12 steps with evaluations after 4, 8 and 12."""
  from trainers import train

  folder = tmp_path_factory.mktemp("runs") / "evaluated"
  flags = (*FLAGS, "--best_score=fid", f"--model_dir={folder}")
  with pytest.MonkeyPatch.context() as monkeypatch, graphs.used(monkeypatch):
    assert train.COMMAND.run(["train", *flags]) == 0
  return folder


def results(folder):
  """Returns the step, the rate and the scores of each result."""
  return [(line["training_step"], line["ema"], line["scores"]) for line in results_log.read(folder)]


def test_every_rate_is_scored_at_regular_intervals(trained):
  assert [(step, ema) for step, ema, _ in results(trained)] == [
    (step, ema) for step in (4, 8, 12) for ema in (0.9, 0.5)
  ]
  for line in results_log.read(trained):
    assert set(line["scores"]) == {"fid", "nll", "nll_train"}
    assert all(np.isfinite(value) for value in line["scores"].values())
    assert line["in_training"] and line["sampler"] == "ddim_5" and line["num_samples"] == 70
    assert line["num_examples"] == line["num_examples_train"] == 6
    assert line["num_timesteps"] == 9
    assert line["reference_about"]["split"] == "train"


def test_tensorboard_has_one_chart_per_score_with_one_curve_per_rate(trained):
  curves = {
    tag: points for tag, points in events.scalars(trained).items() if tag.startswith("evaluation_")
  }
  names = ("fid", "nll", "nll_train")
  shares = ("x_start_out_of_range", "x_start_out_of_range_last_step", "v_out_of_range")
  assert set(curves) == {
    f"evaluation_{name}/ema_{ema}" for name in (*names, *shares) for ema in (0.9, 0.5)
  }
  for ema in (0.9, 0.5):
    expected = {step: scores["fid"] for step, rate, scores in results(trained) if rate == ema}
    assert curves[f"evaluation_fid/ema_{ema}"] == pytest.approx(expected, rel=1e-6)


def test_the_best_checkpoint_is_kept_and_every_command_can_use_it(run, trained, tmp_path):
  step, ema, scores = min(results(trained), key=lambda result: result[2]["fid"])
  folder = model_dir_lib.ModelDir(trained)
  best = folder.read_best()
  assert best[:4] == ("fid", scores["fid"], step, ema)
  assert best.measured["num_samples"] == 70 and best.measured["sampler"] == "ddim_5"
  assert folder.checkpoint_steps(folder.best_checkpoints) == {step}
  flags = (f"--model_dir={trained}", f"--output_dir={tmp_path}", "--best")
  assert run("evaluate", *flags, *SAMPLES).status == 0
  (line,) = results_log.read(tmp_path)
  assert (line["training_step"], line["ema"]) == (step, ema)
  assert line["scores"]["fid"] == pytest.approx(scores["fid"], rel=1e-6)
  drawn = run("sample", *flags, "--samplers=ddim:5", "--num_samples=2")
  assert f"step {step}" in drawn.out
  refused = run("sample", *flags, "--step=10")
  assert refused.status == 2 and "--step: cannot be combined with best" in refused.err


def test_every_command_can_use_an_older_checkpoint(run, trained, tmp_path):
  flags = (f"--model_dir={trained}", f"--output_dir={tmp_path}", "--samplers=ddim:5")
  drawn = run("sample", *flags, "--num_samples=2", "--step=10")
  assert drawn.status == 0 and "step 10" in drawn.out
  refused = run("sample", *flags, "--step=7")
  assert refused.status == 2
  assert f"--step: expected one of the checkpoints of {trained}: " in refused.err
  assert ", 12, received 7" in refused.err


def test_the_scores_are_those_of_the_evaluate_command(run, trained, tmp_path):
  """The noise is that of the seed of the training."""
  expected = {ema: scores for step, ema, scores in results(trained) if step == 12}[0.5]
  flags = ("--nll", "--num_examples=6", "--nll_steps=5", "--ema=0.5", f"--output_dir={tmp_path}")
  assert run("evaluate", f"--model_dir={trained}", *flags, *SAMPLES).status == 0
  scores = {
    name: value for line in results_log.read(tmp_path) for name, value in line["scores"].items()
  }
  assert scores["fid"] == pytest.approx(expected["fid"], rel=1e-6)
  (path,) = tmp_path.glob("nll*.json")
  content = json.loads(path.read_text())
  assert content["bits_per_dim"] == pytest.approx(expected["nll"], rel=1e-6)


def test_few_images_are_trained_on_and_all_are_the_reference(run, trained, tmp_path):
  """The bits/dim of the training images are those of the images that were chosen."""
  assert model_dir_lib.ModelDir(trained).read_checksum().images == MAX_EXAMPLES
  expected = {ema: scores for step, ema, scores in results(trained) if step == 12}[0.5]
  flags = ("--nll", "--split=train", "--num_examples=6", "--nll_steps=5", "--ema=0.5")
  flags = (*flags, f"--seed={SEED}", f"--output_dir={tmp_path}")
  assert run("evaluate", f"--model_dir={trained}", *flags).status == 0
  (line,) = results_log.read(tmp_path)
  assert line["scores"]["nll"] == pytest.approx(expected["nll_train"], rel=1e-6)
  (path,) = (trained / "evaluations").glob("reference_*.npz")
  assert reference.read(path).about["num_examples"] == 1437


def test_what_left_its_range_is_what_leaves_it_in_sampling(trained):
  (line,) = [
    line
    for line in results_log.read(trained)
    if (line["training_step"], line["ema"]) == (12, 0.5) and "out_of_range" in line
  ]
  model = iddpm.load(trained, ema=0.5, progress=False).trained
  sampler = batched_sampling.BatchedSampler(model, batched_sampling.parse_samplers(model.config)[0])
  inputs = seeds.make_inputs(70, seed=seeds.first_of_set(SEED), num_classes=10)
  for _ in sampler.batches(inputs, batch_size=70, progress=progress_lib.Silent()):
    pass
  expected = out_of_range.shares(model.config, sampler.out_of_range())
  assert line["out_of_range"] == pytest.approx(expected, abs=1e-6)
  assert expected["x_start_out_of_range"] > 0.1


def test_evaluations_do_not_change_the_training(run, trained, tmp_path):
  plain = tmp_path / "plain"
  output = run("train", *TRAINING, f"--model_dir={plain}").out
  shares = {
    name.removeprefix("samples_x_start_out_of_range/"): points[12]
    for name, points in events.scalars(plain).items()
    if name.startswith("samples_x_start_out_of_range/")
  }
  assert shares.keys() == {"raw", "ema_0.9", "ema_0.5"}
  largest = max(shares, key=shares.get)
  line = f"sample grid of {largest} at step 12: {shares[largest]:.1%} of the predicted x_0 left"
  assert shares[largest] > 0.5 and line in output  # After so few steps.
  models = [iddpm.load(folder, progress=False) for folder in (trained, plain)]
  weights = [model.network.get_weights() for model in models]
  for value, expected in zip(*weights, strict=True):
    np.testing.assert_array_equal(value, expected)


def test_an_evaluation_that_a_kill_interrupted_is_repeated(run, trained, tmp_path, monkeypatch):
  """TensorFlow writes a checkpoint into a folder step-N_temp first, which a kill leaves."""
  folder = tmp_path / "run"
  (folder / "best/step-2_temp").mkdir(parents=True)
  shutil.copy(trained / "config.json", folder)
  flags = (*FLAGS, "--eval_scores=fid", "--best_score=fid", f"--model_dir={folder}")

  class Killed(BaseException):
    pass

  score = periodic_evaluation._SampleScores.score
  for step in (4, 12):

    def kill(self, model, stop, killed_at=step):
      if model.step == killed_at:
        raise Killed
      return score(self, model, stop)

    with monkeypatch.context() as patch:
      patch.setattr(periodic_evaluation._SampleScores, "score", kill)
      with pytest.raises(Killed):
        run("train", *flags)
  assert run("train", *flags).status == 0
  assert [(step, ema) for step, ema, _ in results(folder)] == [
    (step, ema) for step in (4, 8, 12) for ema in (0.9, 0.5)
  ]
  ours, expected = ([scores["fid"] for *_, scores in results(each)] for each in (folder, trained))
  assert ours == pytest.approx(expected, rel=1e-6)
  assert len(list((folder / "best").glob("step-*.index"))) == 1


def refused(run, folder, *flags):
  """Returns the line about a wrong flag."""
  result = run("train", *FLAGS, f"--model_dir={folder}", *flags)
  line = result.err.splitlines()[-1]
  assert result.status == 2 and line.startswith("train: ")
  return line


def test_wrong_flags_are_refused_before_anything_is_written(run, tmp_path):
  folder = tmp_path / "run"
  nan, single = tmp_path / "nan.npz", tmp_path / "single.npz"
  np.savez(nan, mu=np.full(64, np.nan), sigma=np.eye(64))
  np.savez(single, mu=np.zeros(64), sigma=np.eye(64), arr_0=np.zeros((1, 8, 8, 1), np.uint8))
  precision = "--eval_scores=precision_recall"
  for flags, expected in (
    (["--eval_features=no.pb"], "--eval_features: "),
    (["--eval_reference=no.npz"], "--eval_reference: "),
    (["--eval_examples=361"], "--eval_examples: expected at most 360"),
    (["--eval_nll_steps=26"], "--eval_nll_steps: expected at most"),
    ([precision, "--eval_samples=5"], "--eval_samples: expected more than 5"),
    ([f"--eval_reference={nan}"], "expected a finite mean"),
    ([precision, f"--eval_reference={single}"], "--eval_reference: expected 6 images or more"),
    (["--best_score=recall_k3"], "--best_score: expected a score that eval_scores computes"),
    (
      ["--eval_scores=fid", "--best_score=fid", "--eval_every=0"],
      "--best_score: requires eval_every",
    ),
  ):
    assert expected in refused(run, folder, *flags)
  assert not folder.exists()


def test_too_few_images_of_a_split_are_said_by_its_name(run, tmp_path):
  picture = Image.new("L", (8, 8))
  for split, count in (("train", 8), ("val", 3), ("test", 5)):
    (tmp_path / "pictures" / split).mkdir(parents=True)
    for i in range(count):
      picture.save(tmp_path / "pictures" / split / f"{i}.png")
  flags = ("--dataset=folder", f"--data_dir={tmp_path / 'pictures'}", "--channels=1")
  flags += ("--noclass_conditional", "--max_examples=0", "--eval_examples=4")
  line = refused(run, tmp_path / "run", *flags)
  assert "--eval_examples: expected at most 3, the number of val images of folder" in line


def test_a_missing_or_damaged_record_of_the_best_checkpoint_is_refused(
  run, trained, model_dir, tmp_path
):
  result = run("sample", f"--model_dir={model_dir}", "--best")
  assert result.status == 2 and "--best: expected a run that keeps its best" in result.err
  folder = tmp_path / "run"
  shutil.copytree(trained, folder)
  (folder / "best.json").write_text("{}")
  assert "best.json: expected score" in refused(run, folder, "--train_steps=13")
  assert "best.json" in run("sample", f"--model_dir={folder}", "--best").err
