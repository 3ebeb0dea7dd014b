"""The estimates against gradients whose mean and covariance are known."""

import math

import numpy as np
import pytest

from iddpm_tf.training import noise_scale

STEPS, BATCH = 4000, 32


@pytest.fixture(name="gradients", scope="module")
def fixture_gradients():
  """(G, Sigma, of each image [STEPS, BATCH, 6])."""
  rng = np.random.default_rng(0)
  mean = np.array([0.5, -0.3, 0.1, 0.0, 0.2, -0.1])
  root = rng.standard_normal((6, 6))
  return mean, root @ root.T, mean + rng.standard_normal((STEPS, BATCH, 6)) @ root.T


def of_steps(gradients, parts):
  """`Estimates` of each step, of a batch in so many parts."""
  of_parts = gradients.reshape(STEPS, parts, BATCH // parts, 6).mean(axis=2)
  return noise_scale.estimates(
    small=np.sum(of_parts**2, axis=-1).mean(axis=1),
    big=np.sum(of_parts.mean(axis=1) ** 2, axis=-1),
    small_batch=BATCH // parts,
    big_batch=BATCH,
  )


@pytest.mark.parametrize("parts", (2, 4, 32))
def test_both_parts_are_unbiased(gradients, parts):
  mean, covariance, of_images = gradients
  for ours, truth in zip(
    of_steps(of_images, parts), (mean @ mean, np.trace(covariance)), strict=True
  ):
    error = np.std(ours) / math.sqrt(STEPS)
    assert abs(np.mean(ours) - truth) < 4 * error and error < truth / 5


def test_a_ratio_of_averages_is_the_noise_scale_and_an_average_of_ratios_is_not(gradients):
  mean, covariance, of_images = gradients
  truth = np.trace(covariance) / (mean @ mean)
  estimates = of_steps(of_images, 32)
  averages = noise_scale.Estimates(*map(np.mean, estimates))
  assert noise_scale.simple_noise_scale(averages) == pytest.approx(truth, rel=0.3)
  assert abs(np.mean(estimates.trace / estimates.squared_norm) / truth - 1) > 0.5


def test_gradients_without_noise_have_scale_0():
  estimates = noise_scale.estimates(small=9.0, big=9.0, small_batch=1, big_batch=8)
  assert estimates == (9.0, 0.0) and noise_scale.simple_noise_scale(estimates) == 0


def test_expected_norms_give_back_what_they_are_made_of():
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
def test_what_does_not_tell_is_no_number(squared_norm, trace):
  assert noise_scale.simple_noise_scale(noise_scale.Estimates(squared_norm, trace)) is None
