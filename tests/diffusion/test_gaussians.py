"""The likelihood of 8-bit pixels and the divergence of Gaussians, against float64."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from iddpm_tf.diffusion import gaussians

LEVELS = (np.arange(256) / 127.5 - 1).astype(np.float32)


def reference(x, mean, log_variance):
  """Returns log P(bin of x) in float64, in the left tail, where log_ndtr is exact."""
  x, mean, log_variance = (np.asarray(value, np.float64) for value in (x, mean, log_variance))
  scale = np.exp(0.5 * log_variance)
  z, half = (x - mean) / scale, 1 / 255 / scale
  centre = -np.abs(z)
  upper, lower = scipy.special.log_ndtr(centre + half), scipy.special.log_ndtr(centre - half)
  inner = upper + np.log(-np.expm1(lower - upper))
  return np.where(
    x < -0.999,
    scipy.special.log_ndtr(z + half),
    np.where(x > 0.999, scipy.special.log_ndtr(half - z), inner),
  )


def random_arguments(size, mean_range, log_variance_range):
  rng = np.random.default_rng(0)
  x = rng.choice(LEVELS, size)
  x[: size // 8], x[size // 8 : size // 4] = -1, 1
  return (
    x,
    rng.uniform(-mean_range, mean_range, size).astype(np.float32),
    rng.uniform(*log_variance_range, size).astype(np.float32),
  )


def gradients(x, mean, log_variance):
  mean, log_variance = tf.constant(mean), tf.constant(log_variance)
  with tf.GradientTape() as tape:
    tape.watch([mean, log_variance])
    value = gaussians.discretized_log_likelihood(x, mean, log_variance)
  return value, *tape.gradient(value, [mean, log_variance])


@pytest.mark.parametrize(
  "mean_range, log_variance_range",
  [(1, (-6, 1)), (1, (-14, -6)), (3, (-10, 10)), (100, (-8, 8)), (1e4, (-8, 18))],
)
def test_likelihood_is_exact(mean_range, log_variance_range):
  x, mean, log_variance = random_arguments(20_000, mean_range, log_variance_range)
  ours = gaussians.discretized_log_likelihood(x, mean, log_variance)
  expected = reference(x, mean, log_variance)
  # A float32 z = (x - mean) / scale is rounded, and the value changes by its derivative, which is
  # about the distance of the bin from the mean.
  scale = np.exp(0.5 * log_variance.astype(np.float64))
  z, half = np.abs(x.astype(np.float64) - mean) / scale, 1 / 255 / scale
  rounding = 3e-7 * (z + half) * (np.abs(z - half) + 1)
  assert np.all(np.abs(ours - expected) <= 1e-5 + 1e-6 * np.abs(expected) + rounding)


@pytest.mark.parametrize("log_variance", [-18.0, -11.0, -8.0, -4.0, 0.0, 4.0, 15.0])
@pytest.mark.parametrize("mean", [-2.0, -1.0, -0.3, 0.0, 0.00392157, 0.999, 5.0])
def test_probabilities_of_all_levels_sum_to_one(mean, log_variance):
  log_likelihood = gaussians.discretized_log_likelihood(LEVELS, mean, log_variance)
  np.testing.assert_allclose(np.sum(np.exp(np.float64(log_likelihood))), 1, rtol=3e-5)


def test_levels_are_symmetric():
  """Mirroring pixels and means changes nothing, because the first and the last bin are open."""
  mean = np.float32(0.37)
  np.testing.assert_allclose(
    gaussians.discretized_log_likelihood(LEVELS, mean, -3.0),
    gaussians.discretized_log_likelihood(-LEVELS, -mean, -3.0),
    rtol=1e-5,
  )


def test_the_outer_bins_are_open():
  assert gaussians.discretized_log_likelihood(-1.0, -50.0, 0.0) == 0
  assert gaussians.discretized_log_likelihood(1.0, 50.0, 0.0) == 0
  assert gaussians.discretized_log_likelihood(0.0, 50.0, 0.0) < -1000


@pytest.mark.parametrize("x", [-1.0, LEVELS[1], LEVELS[127], LEVELS[254], 1.0])
def test_values_and_gradients_are_finite_for_any_finite_arguments(x):
  sizes = [0, 1e-38, 1e-8, 1 / 255, 0.5, 1, 10, 1e3, 1e4, 1e7, 1e10, 1e12, 1e15]
  sizes += [1e19, 1e20, 1e30, 1e38, 3e38]
  means = np.array([sign * size for size in sizes for sign in (-1, 1)], np.float32)
  log_sizes = [0, 1, 5, 10, 18, 20, 39.9, 40, 41, 80, 90, 200, 1e4, 1e10, 1e30, 1e38]
  log_variances = np.array([sign * size for size in log_sizes for sign in (-1, 1)], np.float32)
  mean, log_variance = (grid.ravel() for grid in np.meshgrid(means, log_variances))
  names = ("value", "gradient of the mean", "gradient of the variance")
  results = gradients(np.full_like(mean, x), mean, log_variance)
  for name, values in zip(names, results, strict=True):
    wrong = ~np.isfinite(values)
    assert not wrong.any(), (name, x, mean[wrong][:5], log_variance[wrong][:5])


def test_log_probabilities_are_never_positive():
  x, mean, log_variance = random_arguments(20_000, 3, (-40, 40))
  assert np.max(gaussians.discretized_log_likelihood(x, mean, log_variance)) <= 1e-6


@pytest.mark.parametrize("mean_range, log_variance_range", [(1.5, (-9, 4)), (30, (-4, 8))])
def test_gradients_agree_with_float64_differences(mean_range, log_variance_range):
  x, mean, log_variance = random_arguments(5_000, mean_range, log_variance_range)
  _, mean_gradient, log_variance_gradient = gradients(x, mean, log_variance)
  mean, log_variance = mean.astype(np.float64), log_variance.astype(np.float64)
  step = 1e-5 * np.exp(0.5 * log_variance)
  expected = (reference(x, mean + step, log_variance) - reference(x, mean - step, log_variance)) / (
    2 * step
  )
  size = np.exp(-0.5 * log_variance)  # Of a gradient where z is about 1.
  assert np.all(np.abs(mean_gradient - expected) <= 2e-3 * (np.abs(expected) + size))
  expected = (
    reference(x, mean, log_variance + 1e-5) - reference(x, mean, log_variance - 1e-5)
  ) / 2e-5
  assert np.all(np.abs(log_variance_gradient - expected) <= 2e-3 * (np.abs(expected) + 1))


def test_a_mean_far_away_has_a_gradient_towards_the_pixel():
  """The authors' approximation, which is clamped, has none there."""
  for mean, towards in ((-30.0, 1), (30.0, -1)):
    _, mean_gradient, log_variance_gradient = gradients(np.float32([0]), [mean], [-8.0])
    assert np.sign(mean_gradient[0]) == towards and log_variance_gradient[0] > 0
  with tf.GradientTape() as tape:
    mean = tf.constant([30.0])
    tape.watch(mean)
    value = gaussians.approximate_log_likelihood(np.float32([0]), mean, tf.constant([-8.0]))
  assert tape.gradient(value, mean)[0] == 0


def test_the_authors_approximation_is_within_a_percent_for_likely_pixels():
  x, mean, log_variance = random_arguments(20_000, 1, (-8, 2))
  exact = np.asarray(gaussians.discretized_log_likelihood(x, mean, log_variance))
  near = exact > -5
  assert near.mean() > 0.1
  approximate = np.asarray(gaussians.approximate_log_likelihood(x, mean, log_variance))
  np.testing.assert_allclose(approximate[near], exact[near], rtol=1e-2, atol=2e-2)


def test_divergence_is_the_closed_form():
  rng = np.random.default_rng(0)
  mean, other_mean = rng.normal(size=(2, 1000)) * 3
  log_variance, other = rng.uniform(-8, 5, (2, 1000))
  expected = 0.5 * (
    other
    - log_variance
    + np.exp(log_variance - other)
    - 1
    + (mean - other_mean) ** 2 * np.exp(-other)
  )
  arguments = (np.float32(value) for value in (mean, log_variance, other_mean, other))
  np.testing.assert_allclose(gaussians.kl_divergence(*arguments), expected, rtol=3e-5, atol=1e-5)


def test_divergence_from_itself_is_zero_and_from_another_positive():
  for log_variance in (-30.0, -8.0, 0.0, 8.0, 30.0):
    for mean in (-1.0, 0.0, 0.3, 1e4, 1e38):
      assert gaussians.kl_divergence(mean, log_variance, mean, log_variance) == 0
  assert gaussians.kl_divergence(0.0, 0.0, 0.1, 0.0) > 0
  assert gaussians.kl_divergence(0.0, 0.0, 0.0, 0.1) > 0
  assert gaussians.kl_divergence(0.0, 0.0, 0.0, -0.1) > 0


def test_divergence_of_close_means_does_not_cancel():
  for mean in (np.float32(0.5), np.float32(1000)):
    other = np.nextafter(mean, np.float32(np.inf))
    expected = 0.5 * (float(other) - float(mean)) ** 2 * np.exp(8.0)
    np.testing.assert_allclose(
      gaussians.kl_divergence(mean, -8.0, other, -8.0), expected, rtol=1e-4
    )


@pytest.mark.parametrize("log_variance", [-1e30, -100.0, 0.0, 100.0, 1e30])
@pytest.mark.parametrize("other", [-1e30, -100.0, 0.0, 100.0, 1e30])
def test_divergence_is_finite_for_any_finite_variance(log_variance, other):
  arguments = [tf.constant(value) for value in (0.5, log_variance, -2.0, other)]
  with tf.GradientTape() as tape:
    tape.watch(arguments)
    value = gaussians.kl_divergence(*arguments)
  for number in (value, *tape.gradient(value, arguments)):
    assert np.isfinite(number)


def test_bits_per_dim_is_the_mean_over_pixels_in_bits():
  nats = np.random.default_rng(0).normal(size=(3, 4, 5, 2)).astype(np.float32)
  np.testing.assert_allclose(
    gaussians.bits_per_dim(nats), nats.mean((1, 2, 3)) / np.log(2), rtol=1e-4
  )
