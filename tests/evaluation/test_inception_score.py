"""The Inception Score at its limits, and over splits."""

import numpy as np
import pytest

from iddpm_tf import settings
from iddpm_tf.evaluation.inception_score import inception_score


def random_probabilities(seed, count, classes=7):
  return np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), size=count)


def test_uniform_probabilities_score_1():
  assert inception_score(np.full([30, 5], 0.2)) == pytest.approx(1, rel=1e-12)


def test_identical_images_score_1():
  assert inception_score(np.tile(np.eye(5)[2], [30, 1])) == pytest.approx(1, rel=1e-12)


def test_certain_and_balanced_probabilities_score_the_number_of_classes():
  assert inception_score(np.tile(np.eye(8), [4, 1])) == pytest.approx(8, rel=1e-12)


def test_is_the_exponential_of_the_mutual_information():
  p = random_probabilities(0, 50)
  expected = np.exp(np.mean(np.sum(p * (np.log(p) - np.log(p.mean(axis=0))), axis=1)))
  assert inception_score(p) == pytest.approx(expected, rel=1e-12)


def test_is_the_mean_over_splits_and_the_last_may_be_smaller():
  p = random_probabilities(1, 50)
  expected = np.mean([inception_score(p[:20]), inception_score(p[20:40]), inception_score(p[40:])])
  assert inception_score(p, split_size=20) == pytest.approx(expected, rel=1e-12)
  assert inception_score(p, split_size=20) != pytest.approx(inception_score(p), rel=1e-3)


def test_refuses_other_numbers_than_probabilities():
  p = random_probabilities(2, 10)
  for wrong in (p * 2, np.log(p), p - 0.2):
    with pytest.raises(
      settings.InputError, match=r"^probabilities: expected rows of non-negative .* received a min"
    ):
      inception_score(wrong)
  with pytest.raises(settings.InputError, match=r"^probabilities: expected finite numbers"):
    inception_score(p * np.nan)
  with pytest.raises(settings.InputError, match=r"^probabilities: expected shape"):
    inception_score(p[0])
  with pytest.raises(
    settings.InputError, match=r"^split_size: expected a number of at least 1, received 0$"
  ):
    inception_score(p, split_size=0)
