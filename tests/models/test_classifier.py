"""Tests of loading a noisy classifier, and of its log-probabilities."""

import numpy as np
import pytest
import tensorflow as tf

import iddpm_tf as iddpm
from iddpm_tf.models import classifier as classifier_lib
from tests import small_model

X_T = np.random.default_rng(0).standard_normal([3, 8, 8, 1]).astype(np.float32)
T = np.array([0.0, 400.0, 960.0], np.float32)
LABEL = np.array([0, 3, 9], np.int32)


@pytest.fixture(name="classifier", scope="module")
def fixture_classifier(classifier_dir):
  return classifier_lib.load_classifier(classifier_dir)


def test_probabilities_are_those_of_the_network(classifier):
  log_prob = classifier.log_prob(X_T, T, LABEL).numpy()
  logits = classifier.network(X_T, T).numpy().astype(np.float64)
  log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
  np.testing.assert_allclose(log_prob, log_probs[np.arange(3), LABEL], atol=1e-5)
  assert log_prob.dtype == np.float32
  total = sum(np.exp(classifier.log_prob(X_T, T, np.full(3, label))) for label in range(10))
  np.testing.assert_allclose(total, 1, atol=1e-5)


def test_the_gradient_points_to_the_class(classifier):
  @tf.function(autograph=False)
  def gradient(x_t):
    with tf.GradientTape() as tape:
      tape.watch(x_t)
      total = tf.reduce_sum(classifier.log_prob(x_t, T, LABEL))
    return tape.gradient(total, x_t)

  direction = gradient(tf.constant(X_T))
  before = classifier.log_prob(X_T, T, LABEL)
  size = np.sqrt(np.sum(direction.numpy() ** 2, axis=(1, 2, 3), keepdims=True))
  after = classifier.log_prob(X_T + 0.01 * direction / size, T, LABEL)
  # Each step of length 0.01 raises the log-probability by 0.01 |gradient|.
  np.testing.assert_allclose(after - before, 0.01 * size[:, 0, 0, 0], rtol=0.1)


def test_the_newest_weights_are_loaded(classifier, classifier_dir):
  assert classifier.step == small_model.STEP
  assert str(classifier) == f"{classifier_dir}, step {small_model.STEP}"
  assert classifier.config.is_classifier and classifier.folder.path == classifier_dir


def test_folders_of_other_models_are_refused(model_dir, tmp_path):
  with pytest.raises(iddpm.InputError) as error:
    iddpm.load_classifier(model_dir)
  assert str(error.value) == (
    f"model_dir: expected the folder of a noisy classifier, received {model_dir}, which holds a "
    "diffusion model"
  )
  with pytest.raises(iddpm.InputError, match="which does not exist"):
    iddpm.load_classifier(tmp_path / "none")


def test_a_classifier_is_not_loaded_as_a_diffusion_model(classifier_dir):
  with pytest.raises(iddpm.InputError, match="which holds a noisy classifier"):
    iddpm.load(classifier_dir)
