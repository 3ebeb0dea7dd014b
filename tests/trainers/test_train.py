"""The train command: runs, stops, continues, and what it writes."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.models import model_dir as model_dir_lib
from tests import small_model
from tests.training import events

ROOT = pathlib.Path(__file__).parents[2]


def variables(folder):
  """Returns all numbers of the newest checkpoint by name."""
  reader = tf.train.load_checkpoint(str(folder / "checkpoints"))
  return {
    name: reader.get_tensor(name)
    for name in reader.get_variable_to_shape_map()
    if not name.startswith(("_CHECKPOINTABLE", "save_counter"))
  }


def assert_same_run(folder, other):
  ours, theirs = variables(folder), variables(other)
  assert ours.keys() == theirs.keys() and len(ours) > 100
  for name, value in ours.items():
    np.testing.assert_array_equal(value, theirs[name], name)


def start(folder, *flags, stdout=subprocess.PIPE):
  """Starts the command in a process of its own."""
  command = [sys.executable, "-m", "trainers.train", f"--model_dir={folder}"]
  return subprocess.Popen(
    [*command, *small_model.FLAGS, *flags],
    cwd=ROOT,
    stdout=stdout,
    stderr=subprocess.STDOUT,
    text=True,
  )


def wait_for(path, process):
  deadline = time.monotonic() + 240
  while not path.exists():
    assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
    time.sleep(0.05)


def test_a_run_writes_everything_that_other_commands_need(trained_dir):
  folder = model_dir_lib.ModelDir(trained_dir)
  assert folder.require_config().data.image_shape == (8, 8, 1)
  assert folder.checkpoint_steps(folder.checkpoints) == {5, 10}
  assert {path.name for path in folder.samples.iterdir()} == {
    "step_10_raw.png",
    "step_10_ema_0.9.png",
    "step_10_ema_0.5.png",
  }


def test_tensorboard_shows_losses_norms_rates_samples_and_settings(trained_dir):
  steps = events.last_steps(trained_dir)
  for tag in (
    "loss/loss",
    "loss/mse",
    "loss/vlb",
    "timesteps/drawn",
    "timesteps/probability_times_T",
    "norm/gradients",
    "norm/weights",
    "learning_rate",
    "images_per_second",
    "samples/raw",
    "samples/ema_0.9",
    "samples/ema_0.5",
    "samples_x_start_out_of_range/raw",
    "samples_x_start_out_of_range_last_step/ema_0.9",
    "samples_v_out_of_range/ema_0.5",
  ):
    assert steps[tag] == 10, tag
  for name in ("loss", "mse", "vlb"):
    assert any(tag.startswith(f"{name}_by_quartile/q") for tag in steps)
  assert "_hparams_/session_start_info" in steps
  # Without microbatches on one device, the noise scale cannot be measured.
  assert not any(tag.startswith("gradient_noise") for tag in steps)


def test_the_number_of_microbatches_may_change_and_shows_the_noise_scale(
  run, trained_dir, tmp_path
):
  folder = tmp_path / "run"
  shutil.copytree(trained_dir, folder)
  resumed = run("train", f"--model_dir={folder}", "--microbatches=2", "--train_steps=25")
  assert resumed.status == 0 and "at step 10 of 25" in resumed.out
  scalars = events.scalars(folder)
  trace, squared_norm = (
    scalars[f"gradient_noise/{name}"] for name in ("trace_of_covariance", "squared_norm")
  )
  assert trace.keys() == squared_norm.keys() == {15, 20, 25} and min(trace.values()) > 0
  scale = {step: trace[step] / value for step, value in squared_norm.items() if value > 0}
  assert scale and scalars["gradient_noise_scale"] == pytest.approx(scale, rel=1e-4)


def test_what_may_change_is_said_recorded_and_shown(run, trained_dir, tmp_path):
  folder = tmp_path / "run"
  shutil.copytree(trained_dir, folder)
  flags = ("--learning_rate=1e-5", "--batch_size=16", "--ema=0.9,0.5,0.8", "--train_steps=15")
  resumed = run("train", f"--model_dir={folder}", *flags)
  assert resumed.status == 0
  line = (
    "changed at step 10: train_steps from 10 to 15, batch_size from 8 to 16, learning_rate from "
    "0.001 to 1e-05, ema from 0.9,0.5 to 0.9,0.5,0.8"
  )
  assert line in resumed.out.splitlines()
  assert "note: with another batch_size, the images come in another order" in resumed.out
  history = json.loads((folder / "config.json").read_text())["history"]
  assert history[2] == {"step": 10, "setting": "learning_rate", "from": 0.001, "to": 1e-5}
  assert [change["setting"] for change in history] == [
    "train_steps",
    "batch_size",
    "learning_rate",
    "ema",
  ]
  ((step, table),) = events.texts(folder)["history"].items()
  assert step == 10 and "| 10 | learning_rate | 0.001 | 1e-05 |" in table
  assert events.scalars(folder)["learning_rate"][15] == pytest.approx(1e-5)
  before, after = variables(trained_dir), variables(folder)
  for name, value in before.items():
    if name.startswith("network/"):
      assert np.max(np.abs(after[name] - value)) < 1e-4, name
  # The next time nothing has changed.
  finished = run("train", f"--model_dir={folder}", "--train_steps=15")
  assert finished.status == 0 and "changed at" not in finished.out


def test_a_run_in_two_parts_is_the_run_in_one(run, tmp_path):
  """Weights, optimizer, averages, and the losses in the timestep sampler are bit for bit equal."""
  whole, parts = tmp_path / "whole", tmp_path / "parts"
  flags = (
    *small_model.FLAGS,
    *small_model.flags(
      timestep_sampler="loss_second_moment",
      objective="vlb",
      diffusion_steps=5,
      samplers="ancestral",
      dropout=0.1,
      random_flip=True,
    ),
  )
  outputs = []
  for folder, steps in ((parts, 30), (parts, 60), (whole, 60)):
    result = run("train", *flags, f"--model_dir={folder}", f"--train_steps={steps}")
    assert result.status == 0
    outputs.append(result.out)
  assert ["at step 30 of 60" in output for output in outputs] == [False, True, False]
  assert_same_run(parts, whole)
  numbers = variables(whole)
  (counts,) = [numbers[name] for name in numbers if name.startswith("timestep_sampler/counts")]
  assert np.all(counts >= 10)  # The timestep sampler has adapted.


def test_sigterm_during_a_sample_grid_saves_the_last_step(run, tmp_path):
  folder = tmp_path / "run"

  def stop():
    deadline = time.monotonic() + 240
    while not (folder / "samples").exists() and time.monotonic() < deadline:
      time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)

  flags = (*small_model.FLAGS, f"--model_dir={folder}", "--sample_every=10", "--num_samples=400")
  thread = threading.Thread(target=stop)
  thread.start()
  result = run("train", *flags, "--train_steps=1000000")
  thread.join()
  assert result.status == 128 + signal.SIGTERM
  step = int(result.out.rsplit("saved at step ", 1)[1].split(";")[0])
  assert (folder / f"checkpoints/step-{step}.index").exists()


def test_a_finished_run_is_continued_with_other_steps_per_call(run, tmp_path, trained_dir):
  flags = (*small_model.FLAGS, f"--model_dir={tmp_path / 'run'}")
  assert run("train", *flags, "--train_steps=6", "--steps_per_call=4").status == 0
  finished = run("train", *flags)
  assert finished.status == 0 and "has finished its 6 steps" in finished.out
  # The folder is enough.
  more = (f"--model_dir={tmp_path / 'run'}", "--train_steps=10", "--steps_per_call=3")
  resumed = run("train", *more)
  assert resumed.status == 0 and "at step 6 of 10" in resumed.out
  assert_same_run(tmp_path / "run", trained_dir)


@pytest.mark.parametrize(
  "flags, words",
  [
    (("--ema=0.9",), ("--ema", "0.9,0.5", "0.9")),
    (("--channel_multipliers=1,2",), ("--channel_multipliers", "1,2")),
    (("--seed=3",), ("--seed", "0", "3")),
    (("--random_flip",), ("--random_flip", "False", "True")),
    # A folder without the checksum of its images.
    (("--strict",), ("--strict: requires", "images.crc32")),
  ],
)
def test_flags_that_contradict_the_folder_are_refused(run, model_dir, flags, words):
  result = run("train", f"--model_dir={model_dir}", *flags)
  assert result.status == 2 and result.err.count("\n") == 1
  assert all(word in result.err for word in (*words, str(model_dir)))


def test_the_folder_is_named_after_the_flagfile(run, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "tiny.flags").write_text("\n".join([*small_model.FLAGS, "--train_steps=5"]))
  result = run("train", "--flagfile=tiny.flags")
  assert result.status == 0 and result.out.startswith(
    "new run runs/tiny: 5 steps on digits, on the CPU"
  )
  images, network = result.out.splitlines()[1].split("; ")
  assert images.startswith("1,437 images of 8x8x1 in 10 classes") and "parameters" in network
  result = run("train", "--flagfile=tiny.flags")
  assert result.status == 0 and "runs/tiny has finished its 5 steps" in result.out
  result = run("train", "--batch_size=8")
  assert result.status == 2 and result.err.startswith("train: --model_dir: expected the folder of")


def test_a_run_begins_from_another_model_once(run, model_dir, tmp_path):
  source, folder = tmp_path / "source", tmp_path / "run"
  shutil.copytree(model_dir, source)
  begin = (f"--init_from={source}", f"--model_dir={folder}")
  options = small_model.FLAGS[-1:]  # class_conditional; the network is that of the source.
  rest = ("--batch_size=8", "--ema=0.9,0.5", "--log_every=5", "--num_samples=12")
  for flags, words in (
    (("--batch_size=2000",), "--batch_size: expected at most 1437"),
    (("--init_ema=0.99",), "--init_ema: expected one of 0.9, 0.5, 0, received 0.99"),
    (("--base_channels=64",), "base_channels is 32 there and 64 here"),
  ):
    result = run("train", *begin, *options, *rest, *flags, "--train_steps=5")
    assert result.status == 2 and words in result.err and result.err.count("\n") == 1
    assert not folder.exists()
  result = run("train", *begin, *options, *rest, "--train_steps=5", "--learning_rate=1e-3")
  assert result.status == 0
  lines = result.out.splitlines()
  assert lines[0].startswith(f"new run {folder}: 5 steps on digits")
  assert lines[1] == f"initial weights: {source}, step 10, EMA 0.9"
  shutil.rmtree(source)
  result = run("train", f"--model_dir={folder}", "--train_steps=10")
  assert result.status == 0 and "initial weights: " not in result.out
  result = run("train", *begin, "--train_steps=10")
  assert result.status == 0 and f"{folder} has finished its 10 steps" in result.out
  result = run("train", f"--model_dir={folder}", f"--init_from={model_dir}")
  assert result.status == 2 and f"began from {source}, received {model_dir}" in result.err
  begun, trained = variables(model_dir), variables(folder)
  for name, value in begun.items():  # Five steps at 0.001 move no weight far.
    if name.startswith("averages/0..9"):
      weight = trained[name.replace("averages/0..9", "network")]
      assert 0 < np.max(np.abs(weight - value)) < 0.02, name


def test_a_misspelt_folder_begins_no_run(run, tmp_path):
  (tmp_path / "empty").mkdir()
  for name, state in (("mispelt", "does not exist"), ("empty", "is empty")):
    folder = tmp_path / name
    result = run("train", f"--model_dir={folder}")
    assert result.status == 2 and result.err.count("\n") == 1
    message = f"--model_dir: expected the folder of a run to continue, received {folder}, which"
    assert f"{message} {state}" in result.err and "--flagfile=" in result.err
  assert [path.name for path in tmp_path.rglob("*")] == ["empty"]
