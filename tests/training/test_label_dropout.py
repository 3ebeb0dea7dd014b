"""Training with hidden labels: how many, and of which images."""

import types

import numpy as np
import tensorflow as tf

from iddpm_tf.diffusion import losses
from iddpm_tf.training import state as state_lib
from iddpm_tf.training import train_step
from tests import small_model


def seen_labels(monkeypatch, rate, steps=3, **changes):
  """Returns the labels that the losses of each step see, `[steps, N]`, and those of the batch."""
  config = small_model.make_config(label_dropout=rate, **changes)
  state = types.SimpleNamespace(
    config=config,
    step=tf.Variable(0, dtype=tf.int64),
    guard=types.SimpleNamespace(
      restarts=tf.Variable(0, dtype=tf.int64), loss_scale=tf.Variable(0.0)
    ),
    timestep_sampler=types.SimpleNamespace(
      sample=lambda total, seed: (tf.zeros([total], tf.int32), tf.ones([total]))
    ),
    task=types.SimpleNamespace(losses=losses.Losses),
    weights=types.SimpleNamespace(layout=types.SimpleNamespace(flat_shape=[1])),
  )
  seen = []

  def loss_and_gradients(state, batch, t, weights, noise, seed):
    del state, t, noise, seed
    seen.append(batch["label"].numpy())
    return losses.Losses(weights, weights, weights), tf.zeros([1])

  def apply_gradient(state, gradient, loss):
    del gradient, loss
    state.step.assign_add(1)
    return train_step.Applied(tf.constant(0.0), tf.constant(0.0), tf.zeros([1]))

  monkeypatch.setattr(train_step, "loss_and_gradients", loss_and_gradients)
  monkeypatch.setattr(train_step, "apply_gradient", apply_gradient)
  labels = np.arange(4000, dtype=np.int32) % 10
  batch = {"image": tf.zeros([4000, 8, 8, 1]), "label": tf.constant(labels)}
  for _ in range(steps):
    train_step.train_step(state, batch)
  return np.array(seen), labels


def test_a_share_of_the_labels_is_hidden_anew_in_each_step(monkeypatch):
  seen, labels = seen_labels(monkeypatch, 0.2)
  hidden = seen == 10
  assert abs(np.mean(hidden) - 0.2) < 0.015  # The standard error is 0.004.
  np.testing.assert_array_equal(seen[~hidden], np.broadcast_to(labels, seen.shape)[~hidden])
  assert abs(np.mean(hidden[0] & hidden[1]) - 0.04) < 0.015
  again, _ = seen_labels(monkeypatch, 0.2)
  np.testing.assert_array_equal(seen, again)
  other, _ = seen_labels(monkeypatch, 0.2, seed=1)
  assert np.any(other != seen)


def test_without_label_dropout_all_labels_are_seen(monkeypatch):
  seen, labels = seen_labels(monkeypatch, 0.0, steps=1)
  np.testing.assert_array_equal(seen[0], labels)


def test_a_network_with_hidden_labels_learns_both(monkeypatch):
  del monkeypatch
  config = small_model.make_config(label_dropout=0.5)
  assert state_lib.TrainState(config).network.optional_labels
