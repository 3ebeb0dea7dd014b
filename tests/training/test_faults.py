"""Steps that are not finite, and trainings that diverge."""

import contextlib
import json
import os
import time

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.training import faults
from iddpm_tf.training import state as state_lib
from iddpm_tf.training import train_step
from tests import shared_graphs
from tests import small_model
from tests.trainers.test_train import variables
from tests.training import events

# Nothing is at step 0, so that a run goes back to a checkpoint of step 5.
FLAGS = (*small_model.FLAGS, *small_model.flags(batch_size=6, save_every=5, max_skipped_steps=3))


@pytest.fixture(name="bad_steps", scope="module")
def fixture_bad_steps():
  """`[first, last, restarts]`: the gradient of these steps is NaN until there are such restarts."""
  return tf.Variable([0, 0, 0], dtype=tf.int64)


@pytest.fixture(name="graphs_with_faults", scope="module")
def fixture_graphs_with_faults(bad_steps):
  """Trainings whose gradients are NaN where `bad_steps` says so."""
  compute = train_step.loss_and_gradients

  def with_faults(state, *args):
    losses, gradient = compute(state, *args)
    number = state.step.read_value() + 1
    bad = (
      (bad_steps[0] <= number) & (number <= bad_steps[1]) & (state.guard.restarts < bad_steps[2])
    )
    return losses, tf.where(bad, np.nan, 1.0) * gradient

  with pytest.MonkeyPatch.context() as monkeypatch:
    monkeypatch.setattr(train_step, "loss_and_gradients", with_faults)
    yield shared_graphs.SharedGraphs()


@pytest.fixture(name="train")
def fixture_train(graphs_with_faults, bad_steps, run, tmp_path, monkeypatch):
  """Returns `train(first, last, restarts, *flags)`, which trains `tmp_path / "run"` to step 20."""

  def train(first, last, restarts, *flags):
    bad_steps.assign([first, last, restarts])
    with graphs_with_faults.used(monkeypatch):
      return run("train", *FLAGS, f"--model_dir={tmp_path / 'run'}", "--train_steps=20", *flags)

  return train


def status(tmp_path):
  return json.loads((tmp_path / "run/status.json").read_text())


def test_a_step_that_is_not_finite_is_skipped(train, tmp_path):
  result = train(7, 8, 100)
  assert result.status == 0, result
  assert "step 7 was skipped: expected a finite gradient, received one of norm nan" in result.out
  assert result.out.count("was skipped") == 2
  numbers = variables(tmp_path / "run")
  (start,) = [value for name, value in numbers.items() if "moments_start" in name]
  (iteration,) = [value for name, value in numbers.items() if "iteration" in name]
  assert (iteration, start) == (20, 2)  # Two steps changed no moments.
  assert all(np.all(np.isfinite(value)) for value in numbers.values())
  scalars = events.scalars(tmp_path / "run")
  assert scalars["faults/skipped_steps"] == {5: 0, 10: 2, 15: 0, 20: 0}
  assert np.isfinite(scalars["norm/gradients"][10])
  content = status(tmp_path)
  assert (content["state"], content["step"], content["skipped_steps"]) == ("finished", 20, 2)
  assert content["checkpoint"] == "step-20" and content["fault"]["step"] == 8


def test_a_run_goes_back_and_takes_other_noise(train, tmp_path):
  """After two returns the gradients are finite again."""
  result = train(8, 20, 2)
  assert result.status == 0, result
  back = f"going back to {tmp_path}/run/checkpoints/step-5 with other noise"
  assert result.out.count(back) == 2
  assert "step 10: 3 steps in a row were skipped; the last: expected a finite" in result.out
  content = status(tmp_path)
  assert (content["state"], content["restarts"]) == ("finished", 2)
  restarts = [value for name, value in variables(tmp_path / "run").items() if "restarts" in name]
  assert restarts == [2]
  # The events of the steps that were taken again count once.
  assert list(events.scalars(tmp_path / "run")["loss/loss"]) == [5, 10, 15, 20]


def test_a_run_that_goes_on_diverging_ends_with_a_diagnosis(train, tmp_path):
  result = train(8, 20, 100, "--max_restarts=2")
  assert result.status == 3 and "Traceback" not in result.err, result
  for words in (
    "train: step 10: 3 steps in a row were skipped",
    f"nothing is saved after {tmp_path}/run/checkpoints/step-5, also after 2 returns to it",
    "worst timesteps: ",
    "norms of the gradient: time nan",
    "norms of the weights: time ",
    "a lower learning_rate or warmup_steps may help",
  ):
    assert words in result.err.splitlines()[-1]
  content = status(tmp_path)
  assert content["state"] == "failed" and "3 steps in a row" in content["fault"]["reason"]
  # The same command goes on from there.
  result = train(0, 0, 0)
  assert result.status == 0 and "at step 5 of 20" in result.out


def test_the_folder_is_held_also_where_the_last_checkpoint_is_damaged(train, tmp_path):
  assert train(0, 0, 0).status == 0
  os.truncate(tmp_path / "run/checkpoints/step-20.data-00000-of-00001", 100)
  with model_dir_lib.ModelDir(tmp_path / "run").held():
    result = train(0, 0, 0)
  assert result.status == 2 and "that no other process writes to" in result.err
  result = train(0, 0, 0)
  assert result.status == 0 and "step-20 is damaged" in result.out
  assert model_dir_lib.ModelDir(tmp_path / "run").newest_step() == 20


def test_a_run_that_only_skips_never_finishes(train, tmp_path):
  """Checkpoints are due in the middle of each row of skipped steps."""
  result = train(6, 1000, 100, "--max_skipped_steps=8", "--train_steps=40")
  assert result.status == 3 and "also after 3 returns to it" in result.err, result
  assert model_dir_lib.ModelDir(tmp_path / "run").newest_step() == 5


def test_a_run_goes_back_to_the_newest_checkpoint_that_is_whole(train, tmp_path, monkeypatch):
  """The disk damages the newest one while the training runs."""
  checkpoints = tmp_path / "run/checkpoints"
  add = faults.Monitor.add

  def damage(monitor, records, step):
    if step > 15:
      deadline = time.monotonic() + 30  # It is written in the background.
      while not (checkpoints / "step-15.index").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
      with contextlib.suppress(FileNotFoundError):
        os.truncate(checkpoints / "step-15.data-00000-of-00001", 100)
    return add(monitor, records, step)

  monkeypatch.setattr(faults.Monitor, "add", damage)
  result = train(17, 1000, 1, "--train_steps=25")
  assert result.status == 0, result
  assert f"note: {checkpoints}/step-15 is damaged" in result.out
  assert f"going back to {checkpoints}/step-10 with other noise" in result.out
  assert sorted(path.name for path in (checkpoints / "damaged").iterdir()) == [
    "step-15.data-00000-of-00001",
    "step-15.index",
  ]


def test_a_finished_run_on_a_disk_that_can_only_be_read_says_so(train, tmp_path, read_only):
  assert train(0, 0, 0).status == 0
  read_only(tmp_path / "run")
  result = train(0, 0, 0)
  assert result.status == 0 and "has finished its 20 steps" in result.out


def test_a_second_training_into_the_folder_is_refused(train, tmp_path):
  folder = model_dir_lib.ModelDir(tmp_path / "run")
  with folder.held():
    result = train(0, 0, 0)
  assert result.status == 2
  words = f"--model_dir: expected a folder that no other process writes to, received {folder}"
  assert f"{words}, which process {os.getpid()} on" in result.err
  assert not folder.path.exists()


def test_a_run_without_a_checkpoint_ends_at_once(train, tmp_path):
  result = train(1, 20, 100)
  assert result.status == 3 and "no checkpoint has been saved yet; worst" in result.err
  assert model_dir_lib.ModelDir(tmp_path / "run").newest_step() == 0


def records_of(steps, *, mse=1.0, skipped=0.0):
  images = np.ones([steps, 4], np.float32)
  ones = np.ones([steps], np.float32)
  return train_step.StepRecord(
    t=np.tile(np.arange(4, dtype=np.int32), [steps, 1]),
    weights=images,
    loss=images,
    mse=np.float32(mse) * images,
    vlb=images * np.array([1, 2, 30, 4], np.float32),
    grad_norm=ones,
    part_squared_norm=ones,
    skipped=np.float32(skipped) * ones,
    loss_scale=0 * ones,
    group_norms=np.ones([steps, 5], np.float32),
  )


@pytest.fixture(name="state", scope="module")
def fixture_state():
  return state_lib.TrainState(small_model.make_config())


def test_predictions_worse_than_none_are_not_saved(state):
  monitor = faults.Monitor(state)
  assert monitor.add(records_of(50), 50) == ([], None) and monitor.check(50) is None
  monitor.add(records_of(100, mse=11), 150)
  fault = monitor.check(150)
  assert fault.step == 150 and "mean squared error of the last 100 steps is 11" in fault.reason
  monitor.begin()
  assert monitor.check(150) is None
  monitor.add(records_of(1, mse=np.inf), 151)
  assert monitor.check(151) is not None


def test_weights_that_are_not_finite_are_not_saved():
  state = state_lib.TrainState(small_model.make_config())
  monitor = faults.Monitor(state)
  assert monitor.check(5) is None
  state.averages.averages[1].variable.assign(
    state.averages.averages[1].variable + tf.constant([np.inf] + [0.0] * 31)
  )
  assert monitor.check(5).reason == "weights, moments or averages are not finite"


def test_a_diagnosis_names_the_worst_timesteps_and_their_term(state):
  monitor = faults.Monitor(state)
  monitor.add(records_of(2), 2)
  text = monitor.diagnosis()
  assert text.startswith(
    "worst timesteps: 2 (vlb 30), 3 (vlb 4), 1 (vlb 2); norms of the weights: "
  )


def test_steps_in_a_row_are_counted_over_calls(state):
  limit = state.config.training.max_skipped_steps
  monitor = faults.Monitor(state)
  assert monitor.add(records_of(limit - 1, skipped=1), limit - 1)[1] is None
  lines, fault = monitor.add(records_of(3, skipped=1), limit + 2)
  assert fault.step == limit and len(lines) == 1 and monitor.skipped == limit
