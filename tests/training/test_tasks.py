"""What a training trains: losses, and when they are too large."""

import types

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.training import faults
from iddpm_tf.training import state as state_lib
from iddpm_tf.training import tasks
from iddpm_tf.training import train_step
from tests import small_model


@pytest.fixture(name="state", scope="module")
def fixture_state():
  return state_lib.TrainState(small_model.make_classifier_config(pool="adaptive"))


def test_the_task_follows_from_the_configuration(state):
  assert isinstance(state.task, tasks.ClassifierTask)
  assert isinstance(
    tasks.make_task(small_model.make_config(), state.diffusion), tasks.DiffusionTask
  )


def test_losses_of_a_classifier():
  logits = tf.constant([[0.0, np.log(3.0)], [5.0, -5.0]])
  losses = tasks.classifier_losses(logits, tf.constant([1, 1]))
  np.testing.assert_allclose(losses.loss, [-np.log(0.75), 10 + np.log1p(np.exp(-10))], rtol=1e-5)
  np.testing.assert_array_equal(losses.accuracy, [1, 0])


def test_a_step_of_a_classifier_records_its_losses(state):
  rng = np.random.default_rng(0)
  batch = {
    "image": tf.constant(rng.uniform(-1, 1, (8, 8, 8, 1)), tf.float32),
    "label": tf.constant(rng.integers(0, 10, 8), tf.int32),
  }
  record = train_step.train_step(state, batch)
  # The head begins at zeros, so that all classes are equally probable.
  np.testing.assert_allclose(record.loss, np.log(10), rtol=1e-5)
  assert record.accuracy.shape == (8,) and record.grad_norm > 0
  assert int(state.step) == 1 and state.is_finite()
  # The classes that the batch has are more probable now.
  again = train_step.train_step(state, batch)
  assert np.mean(again.loss) < np.log(10)


def records(steps, **values):
  ones = np.ones([steps], np.float32)
  images = np.ones([steps, 4], np.float32)
  return train_step.ClassifierRecord(
    t=np.tile(np.arange(4, dtype=np.int32), [steps, 1]),
    weights=images,
    loss=images * np.array([1, 2, 30, 4], np.float32) * values.get("loss", 1.0),
    accuracy=images,
    grad_norm=ones,
    part_squared_norm=ones,
    skipped=0 * ones,
    loss_scale=0 * ones,
    group_norms=np.ones([steps, 4], np.float32),
  )


def test_classes_far_worse_than_guessed_are_a_fault(state):
  monitor = faults.Monitor(state)
  assert monitor.add(records(5), 5) == ([], None) and monitor.check(5) is None
  assert monitor.diagnosis().startswith("worst timesteps: 2 (loss 30), 3 (loss 4), 1 (loss 2)")
  monitor.add(records(100, loss=3.0), 105)
  fault = monitor.check(105)
  assert fault.step == 105
  assert "cross-entropy of the last 100 steps is 27.8, and that of a guess is 2.3" in fault.reason
  monitor.begin()
  monitor.add(records(1, loss=np.nan), 106)
  assert monitor.check(106) is not None


@pytest.mark.parametrize("mse, faulty", [(9.9, False), (10.1, True), (np.nan, True)])
def test_predictions_worse_than_none_are_a_fault(mse, faulty):
  task = tasks.make_task(small_model.make_config(), None)
  record = types.SimpleNamespace(mse=np.full(3, mse), weights=np.ones(3))
  assert bool(task.why_diverged([record])) == faulty
  assert task.why_diverged([]) is None
