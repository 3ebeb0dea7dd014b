"""The estimate of the full sum, against the full sum itself."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.data import images as images_lib
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion import likelihood
from iddpm_tf.diffusion.samplers import loop
from iddpm_tf.evaluation.nll import estimate
from iddpm_tf.utils import progress as progress_lib

SILENT = progress_lib.Silent()


@pytest.fixture(name="estimator", scope="module")
def fixture_estimator(model, test_split):
  """An estimator of the mean over 50 images."""
  return estimate.Estimator(model, test_split.images, test_split.labels, count=50)


def test_it_agrees_with_the_full_sum_within_its_error(evaluator, estimator, test_split):
  draws = 2
  bounds = [
    evaluator.bits_per_dim(
      test_split.images, test_split.labels, count=50, seed=seed, progress=SILENT
    )
    for seed in range(draws)
  ]
  totals = np.array([bits.total for bits in bounds], np.float64)  # [draws, images]
  exact = np.mean(totals)
  exact_stderr = np.sqrt(np.sum(np.var(totals, axis=0, ddof=1)) / draws) / 50
  bound = estimator.estimate(0.05, progress=SILENT)
  assert 0 < bound.stderr <= 0.05 and exact_stderr < 0.05
  assert abs(bound.bits_per_dim - exact) <= 3.5 * np.hypot(bound.stderr, exact_stderr)
  assert estimator.full_sum_evaluations == 1250
  assert bound.prior == pytest.approx(np.mean(bounds[0].prior), rel=1e-4)


def test_it_is_a_function_of_the_seed_for_every_batch_size(model, estimator, test_split):
  first = estimator.estimate(0.1, progress=SILENT)
  other_batches = estimate.Estimator(
    model, test_split.images, test_split.labels, count=50, batch_size=33
  )
  same = other_batches.estimate(0.1, progress=SILENT)
  other = estimator.estimate(0.1, seed=1, progress=SILENT)
  np.testing.assert_allclose(same.bits_per_dim, first.bits_per_dim, rtol=1e-4)
  assert abs(other.bits_per_dim - first.bits_per_dim) > 1e-4


def test_the_noise_of_an_evaluation_depends_on_its_key_and_the_seed(estimator):
  t, image = np.full(4, 3, np.int32), np.array([5, 5, 5, 6], np.int32)
  keys = np.array([0, 0, 1, 0])
  first, other = (estimator.terms(t, image, keys, seed=seed) for seed in (1, 2))
  np.testing.assert_allclose(first[0], first[1], rtol=1e-5)
  distinct = np.concatenate([first[1:], other[1:]])
  assert np.min(np.abs(np.diff(np.sort(distinct)))) > 1e-6 * np.max(distinct)


def test_a_term_is_that_of_the_image_with_its_own_label(model, estimator, test_split):
  t, image = np.array([0, 3, 9, 24, 3, 0], np.int32), np.array([7, 2, 5, 1, 9, 3], np.int32)
  key = np.arange(6, dtype=np.int64)
  labels = test_split.labels[image]
  assert len(set(labels)) > 2
  terms = estimator.terms(t, image, key, seed=5)
  noise = loop.seeded_noise(tf.constant(key + (5 << 32)), (8, 8, 1), estimate._STREAM)(0)
  x_start = images_lib.to_unit_range(tf.constant(test_split.images[image]))
  diffusion = gaussian_diffusion.make_diffusion(model.config.diffusion)
  for label, is_close in ((labels, True), ((labels + 1) % 10, False)):
    model_fn = model.model_fn_for(x_start, tf.constant(label))
    expected = likelihood.evaluate(model_fn, diffusion, x_start, tf.constant(t), noise).term
    assert np.allclose(terms, expected, rtol=1e-4) == is_close


def test_it_takes_at_most_the_evaluations_of_the_full_sum(estimator):
  bound = estimator.estimate(1e-6, progress=SILENT)
  assert 1250 <= bound.terms.evaluations <= 1250 + 25
  assert bound.stderr > 1e-6 and bound.terms.expected > 10**6


def test_the_total_is_that_of_the_strata(estimator):
  bound = estimator.estimate(0.1, seed=3, progress=SILENT)
  sizes = np.diff(bound.plan.edges)
  assert np.sum(sizes) == 25
  expected = bound.prior + np.dot(sizes, bound.terms.means)
  np.testing.assert_allclose(bound.bits_per_dim, expected, rtol=1e-12)
  variance = np.sum(np.square(sizes * bound.terms.deviations) / bound.terms.counts)
  np.testing.assert_allclose(bound.stderr, np.sqrt(variance), rtol=1e-12)


def test_wrong_input_is_refused(model, estimator, test_split):
  with pytest.raises(settings.InputError, match="nll_stderr: expected a number of at least 1e-06"):
    estimator.estimate(0.0, progress=SILENT)
  with pytest.raises(settings.InputError, match=r"labels: expected integers from 0 to 9.*none"):
    estimate.Estimator(model, test_split.images)
  config = model.config.with_settings(class_conditional=False)
  with pytest.raises(settings.InputError, match="labels: expected none, because the model has no"):
    estimate.Estimator(
      dataclasses.replace(model, config=config), test_split.images, test_split.labels
    )
