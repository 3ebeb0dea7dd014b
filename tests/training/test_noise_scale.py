"""The gradient noise scale, of gradients whose mean and covariance are known."""

import math

import numpy as np
import pytest

from iddpm_tf.training import noise_scale

STEPS, BATCH = 4000, 32


@pytest.fixture(name="gradients", scope="module")
def fixture_gradients():
  """G, Sigma, and the gradient of each image, `[STEPS, BATCH, 6]`."""
  rng = np.random.default_rng(0)
  mean = np.array([0.5, -0.3, 0.1, 0.0, 0.2, -0.1])
  root = rng.standard_normal((6, 6))
  return mean, root @ root.T, mean + rng.standard_normal((STEPS, BATCH, 6)) @ root.T


def estimate(gradients, parts):
  """Returns the `Estimates` of each step, for a batch in equal parts."""
  means = gradients.reshape(STEPS, parts, BATCH // parts, 6).mean(axis=2)
  return noise_scale.estimates(
    small=np.sum(means**2, axis=-1).mean(axis=1),
    big=np.sum(means.mean(axis=1) ** 2, axis=-1),
    small_batch=BATCH // parts,
    big_batch=BATCH,
  )


@pytest.mark.parametrize("parts", (2, 4, 32))
def test_both_estimates_are_unbiased(gradients, parts):
  mean, covariance, images = gradients
  truths = (mean @ mean, np.trace(covariance))
  for ours, truth in zip(estimate(images, parts), truths, strict=True):
    error = np.std(ours) / math.sqrt(STEPS)
    assert abs(np.mean(ours) - truth) < 4 * error and error < truth / 5


def test_the_ratio_of_averages_is_the_noise_scale_and_the_average_of_ratios_is_not(gradients):
  mean, covariance, images = gradients
  truth = np.trace(covariance) / (mean @ mean)
  estimates = estimate(images, 32)
  averages = noise_scale.Estimates(*map(np.mean, estimates))
  assert noise_scale.simple_noise_scale(averages) == pytest.approx(truth, rel=0.3)
  assert abs(np.mean(estimates.trace / estimates.squared_norm) / truth - 1) > 0.5


def test_gradients_without_noise_have_scale_0():
  estimates = noise_scale.estimates(small=9.0, big=9.0, small_batch=1, big_batch=8)
  assert estimates == (9.0, 0.0) and noise_scale.simple_noise_scale(estimates) == 0


def test_the_estimates_invert_the_expected_norms():
  """E|G_B|^2 = |G|^2 + tr(Sigma) / B."""
  estimates = noise_scale.estimates(
    small=3.0 + 100 / 4, big=3.0 + 100 / 20, small_batch=4, big_batch=20
  )
  assert estimates == pytest.approx((3.0, 100.0))


@pytest.mark.parametrize(
  "squared_norm, trace",
  [
    (0.0, 1.0),
    (-1.0, 1.0),
    (math.nan, 1.0),
    (math.inf, 1.0),
    (1.0, math.inf),
    (1.0, math.nan),
    (1.0, -1.0),
  ],
)
def test_averages_without_a_noise_scale_have_none(squared_norm, trace):
  assert noise_scale.simple_noise_scale(noise_scale.Estimates(squared_norm, trace)) is None
