"""The command that trains noisy classifiers: runs, continues, and what is refused."""

import json
import shutil
import signal

import numpy as np
import pytest

import iddpm_tf as iddpm
from iddpm_tf.data import sources
from iddpm_tf.evaluation import results_log
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.training import held_out_accuracy
from iddpm_tf.utils import progress as progress_lib
from tests import small_model
from tests.trainers.test_bad_input import assert_refused
from tests.trainers.test_train import assert_same_run
from tests.training import events

FLAGS = (*small_model.CLASSIFIER_FLAGS, "--save_every=5", "--batch_size=64", "--learning_rate=3e-3")


@pytest.fixture(name="trained", scope="module")
def fixture_trained(graphs, tmp_path_factory):
  """The folder of a run of 40 steps. Tests must not change it."""
  from trainers import train_classifier

  folder = tmp_path_factory.mktemp("runs") / "classifier"
  flags = (*FLAGS, "--train_steps=40", f"--model_dir={folder}")
  with pytest.MonkeyPatch.context() as monkeypatch, graphs.used(monkeypatch):
    assert train_classifier.COMMAND.run(["train_classifier", *flags]) == 0
  return folder


def test_a_run_is_a_model_folder_of_a_classifier(trained):
  folder = model_dir_lib.ModelDir(trained)
  config = folder.require_config(classifier=True)
  assert config.data.image_shape == (8, 8, 1) and config.data.num_classes == 10
  assert json.loads((trained / "config.json").read_text())["network"]["pool"] == "attention"
  assert folder.checkpoint_steps(folder.checkpoints) == {30, 35, 40}
  assert not folder.samples.exists()
  assert json.loads(folder.status.read_text())["state"] == "finished"


def test_it_learns(trained):
  """The classes of clean images are found five times as often as by chance."""
  classifier = iddpm.load_classifier(trained)
  source = sources.load(classifier.config.data, "test")
  images = np.asarray(source.images[:200], np.float32) / 127.5 - 1
  logits = classifier.network(images, np.zeros(200, np.float32)).numpy()
  assert np.mean(logits.argmax(axis=1) == source.labels[:200]) > 0.5


def test_tensorboard_shows_loss_and_accuracy_by_quarters(trained):
  scalars = events.scalars(trained)
  for tag in ("loss/loss", "accuracy/train", "norm/gradients", "learning_rate"):
    assert scalars[tag].keys() == set(range(5, 45, 5)), tag
  names = ("loss", "accuracy")
  quarters = [f"{name}_by_quartile/q{q}" for name in names for q in range(4)]
  assert set(quarters) <= scalars.keys()
  held_out = [f"evaluation_{name}{q}/raw" for name in names for q in ("", "_q0", "_q3")]
  for tag in held_out:
    assert scalars[tag].keys() == set(range(5, 45, 5)), tag
  assert scalars["loss/loss"][40] < scalars["loss/loss"][5]
  assert not any(tag.startswith(("samples", "loss/mse", "loss/vlb")) for tag in scalars)


def test_the_held_out_accuracy_is_in_the_results(trained):
  results = results_log.read(trained)
  assert [result["training_step"] for result in results] == list(range(5, 45, 5))
  scores = results[-1]["scores"]
  assert (results[-1]["split"], results[-1]["num_examples"]) == ("test", 30)
  for name in ("loss", "accuracy"):
    quarters = [scores[f"{name}_q{q}"] for q in range(4)]
    assert scores[name] == pytest.approx(np.mean(quarters))
  assert scores["accuracy_q0"] > scores["accuracy_q3"] >= 0


def test_a_stopped_run_continues_bit_for_bit(run, trained, tmp_path):
  folder = tmp_path / "run"
  stopped = run("train_classifier", f"--model_dir={folder}", *FLAGS, "--train_steps=15")
  assert stopped.status == 0 and "per sample grid" not in stopped.out
  assert "per evaluation" in stopped.out and "step 15: accuracy " in stopped.out
  resumed = run("train_classifier", f"--model_dir={folder}", "--train_steps=40")
  assert resumed.status == 0 and "at step 15 of 40" in resumed.out
  assert_same_run(folder, trained)
  finished = run("train_classifier", f"--model_dir={folder}")
  assert finished.status == 0 and "has finished its 40 steps" in finished.out
  scores = [result["scores"] for result in results_log.read(folder)]
  assert scores == [result["scores"] for result in results_log.read(trained)]


def test_a_signal_stops_the_run_before_its_next_step(trained, tmp_path, shared_graphs):
  class Stopping(progress_lib.Silent):
    """Sends a signal in the first step."""

    def bar(self, *, unit, **_):
      bar = progress_lib.Silent().bar(total=1, unit=unit)
      if unit == "step":
        bar.update = lambda n=1: signal.raise_signal(signal.SIGTERM)
      return bar

  folder = tmp_path / "run"
  config = model_dir_lib.ModelDir(trained).require_config(classifier=True)
  with pytest.raises(iddpm.TrainingInterrupted) as stopped:
    iddpm.train_classifier(config, model_dir=folder, progress=Stopping())
  assert stopped.value.signal == signal.SIGTERM and stopped.value.step == 5
  classifier = iddpm.train_classifier(config, model_dir=folder, progress=False)
  assert classifier.step == 40
  assert_same_run(folder, trained)


def test_an_evaluation_that_was_stopped_is_made_up_for(trained, tmp_path):
  folder = tmp_path / "run"
  shutil.copytree(trained, folder)
  results = (folder / "results.jsonl").read_text().splitlines(keepends=True)
  (folder / "results.jsonl").write_text("".join(results[:-1]))
  config = model_dir_lib.ModelDir(folder).require_config(classifier=True)
  iddpm.train_classifier(config, model_dir=folder, progress=False)
  again = results_log.read(folder)
  assert len(again) == len(results)
  # The same images with the same noise.
  assert again[-1]["scores"] == pytest.approx(json.loads(results[-1])["scores"], abs=1e-5)


def test_data_without_a_held_out_split_is_not_measured(trained, tmp_path, shared_graphs):
  config = model_dir_lib.ModelDir(trained).require_config(classifier=True)
  source = sources.load(config.data, "train")
  config = config.with_settings(train_steps=5)
  iddpm.train_classifier(
    config, source.images, source.labels, model_dir=tmp_path / "run", progress=False
  )
  assert results_log.read(tmp_path / "run") == []


@pytest.mark.parametrize("steps", (25, 3, 1000))
def test_each_image_has_a_timestep_in_every_quarter(steps):
  accuracy = object.__new__(held_out_accuracy.HeldOutAccuracy)
  accuracy._count = 500
  accuracy._state = type("State", (), {})
  accuracy._state.config = small_model.make_classifier_config(diffusion_steps=steps)
  t = accuracy._timesteps()
  assert t.shape == (500, 4) and t.min() >= 0 and t.max() < steps
  if steps > 4:
    for q in range(4):
      expected = np.arange(q * steps // 4, (q + 1) * steps // 4)
      np.testing.assert_array_equal(np.unique(t[:, q])[[0, -1]], expected[[0, -1]])


@pytest.mark.parametrize(
  "command, flags",
  [
    ("sample", ()),
    ("export", ()),
    ("evaluate", ("--nll",)),
    ("train", ()),
    ("train", ("--learning_rate=1e-4",)),
  ],
)
def test_commands_of_diffusion_models_refuse_the_folder(run, classifier_dir, command, flags):
  result = run(command, f"--model_dir={classifier_dir}", *flags)
  words = (
    f"expected the folder of a diffusion model, received {classifier_dir}, which holds a noisy"
  )
  assert_refused(result, f"--model_dir: {words} classifier")


def test_a_classifier_is_no_upsampler_and_no_start(run, classifier_dir, model_dir, tmp_path):
  result = run("sample", f"--model_dir={model_dir}", f"--upsampler_dir={classifier_dir}")
  assert_refused(result, "--upsampler_dir: expected the folder of a diffusion model")
  result = run("train", f"--init_from={classifier_dir}", f"--model_dir={tmp_path / 'run'}")
  assert_refused(result, "--init_from: expected the folder of a diffusion model")


def test_a_diffusion_model_is_no_classifier(run, model_dir):
  result = run("train_classifier", f"--model_dir={model_dir}")
  assert_refused(
    result,
    f"--model_dir: expected the folder of a noisy classifier, received {model_dir}, which holds a "
    "diffusion model",
  )


@pytest.mark.parametrize(
  "command, flags, words",
  [
    (
      "train",
      (*small_model.FLAGS, "--pool=attention"),
      ("--pool: expected none", "train_classifier"),
    ),
    ("train_classifier", (*FLAGS, "--pool=none"), ("--pool", "one of adaptive, attention")),
    ("train_classifier", (*FLAGS, "--ema=0.9"), ("--ema", "nothing for a classifier")),
    ("train_classifier", (*FLAGS, "--class_conditional"), ("--class_conditional", "False")),
    ("train_classifier", (*FLAGS, "--best_score=nll"), ("--best_score",)),
    ("train_classifier", (), ("a new run requires settings",)),
  ],
)
def test_settings_that_are_refused(run, tmp_path, command, flags, words):
  assert_refused(run(command, f"--model_dir={tmp_path / 'run'}", *flags), *words)
  assert not (tmp_path / "run").exists()


def test_data_without_labels_is_refused(run, tmp_path):
  images = np.zeros([40, 8, 8, 1], np.uint8)
  config = iddpm.Config.from_settings(**small_model.CLASSIFIER_SETTINGS)
  for labels, count in ((None, 0), (np.zeros(40, np.int32), 1)):
    with pytest.raises(iddpm.InputError, match=f"dataset: .* classifier .here are {count}."):
      iddpm.train_classifier(config, images, labels, model_dir=tmp_path / "run", progress=False)
  assert not (tmp_path / "run").exists()


def test_the_api_refuses_the_other_kind(tmp_path):
  for function, changes in (
    (iddpm.train, small_model.CLASSIFIER_SETTINGS),
    (iddpm.train_classifier, {}),
  ):
    with pytest.raises(iddpm.InputError, match=r"^config: expected a"):
      function(iddpm.Config.from_settings(**changes), model_dir=tmp_path / "run")
