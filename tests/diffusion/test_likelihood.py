"""The variational bound of images whose distribution is known."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from iddpm_tf.config import DiffusionConfig
from iddpm_tf.diffusion import likelihood
from iddpm_tf.diffusion import losses
from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.diffusion import respacing
from iddpm_tf.diffusion import schedules

X_START = (np.random.default_rng(0).integers(1, 255, (2, 3, 4, 1)) / 127.5 - 1).astype(np.float32)
EXACT = DiffusionConfig(mean_type="x_start", objective="simple", variance_type="fixed_small")


def noise_fn(k):
  return tf.random.stateless_normal(X_START.shape, tf.stack([3, k]), alg="philox")


def knows_the_image(x_t, t):
  """The network of a point mass: x_0 whatever x_t is."""
  del x_t, t
  return tf.constant(X_START)


def toy_network(x_t, t):
  return 0.3 * x_t + 0.1 * tf.sin(t / 100)[:, None, None, None]


def process_of(steps, timesteps=None):
  return process_lib.GaussianProcess(schedules.cosine_betas(steps), timesteps)


def bits(process, network=knows_the_image, config=EXACT, x_start=X_START, **options):
  return likelihood.bits_per_dim(
    network, process, config, tf.constant(x_start), noise_fn, **options
  )


def test_a_network_that_knows_the_image_pays_for_the_decoder_alone():
  process = process_of(20)
  result = bits(process)
  assert result.terms.shape == (2, 20)
  np.testing.assert_allclose(result.terms[:, 1:], 0, atol=1e-6)
  scale = np.exp(0.5 * process.posterior_log_variance_clipped[0])
  # An inner pixel, the Gaussian in the middle of its bin.
  inside = scipy.special.erf(1 / 255 / scale / np.sqrt(2))
  np.testing.assert_allclose(result.terms[:, 0], -np.log2(inside), rtol=1e-4)
  np.testing.assert_allclose(result.x_start_mse, 0, atol=1e-12)
  np.testing.assert_allclose(result.eps_mse, 0, atol=1e-6)


@pytest.mark.parametrize("variance", ["fixed_large", "learned"])
def test_another_variance_than_the_posterior_s_costs_more(variance):
  config = DiffusionConfig(mean_type="x_start", objective="vlb", variance_type=variance)

  def network(x_t, t):
    wrong = tf.concat([X_START, tf.zeros_like(X_START)], axis=-1)
    return wrong if variance == "learned" else knows_the_image(x_t, t)

  assert np.all(bits(process_of(10), network, config).terms[:, 1:] > 1e-4)


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_the_total_is_the_prior_and_the_terms(steps):
  process = process_of(steps)
  result = bits(process, toy_network)
  np.testing.assert_allclose(result.total, result.prior + np.sum(result.terms, axis=1), rtol=1e-5)
  np.testing.assert_allclose(result.prior, losses.prior_term(process, X_START))
  assert np.all(np.asarray(result.terms) >= 0) and np.all(np.isfinite(result.total))


@pytest.mark.parametrize("steps, count", [(50, 5), (21, 4)])
def test_appendix_e_has_a_column_for_each_of_its_timesteps(steps, count):
  timesteps = respacing.likelihood_timesteps(steps, count)
  expected = {round(i * (steps - 1) / (count - 1)) for i in range(count)} | set(
    range(steps // count)
  )
  result = bits(process_of(steps, timesteps), toy_network)
  for column in (result.terms, result.x_start_mse, result.eps_mse):
    assert column.shape == (2, len(expected))


def test_columns_are_timesteps_and_noise_goes_from_the_last_to_the_first():
  process, seen = process_of(5), []

  def denoise_fn(x_t, t):
    seen.append(float(t[0]))
    return toy_network(x_t, t)

  result = bits(process, denoise_fn, clip=False)
  assert seen == [800, 600, 400, 200, 0]  # Rescaled.
  for t in range(5):
    noise = noise_fn(4 - t)
    x_t = process.q_sample(X_START, [t, t], noise)
    prediction = toy_network(x_t, tf.fill([2], 200.0 * t))
    np.testing.assert_allclose(
      result.x_start_mse[:, t], np.mean(np.square(prediction - X_START), axis=(1, 2, 3)), rtol=1e-5
    )


def test_an_evaluation_at_timesteps_of_each_image_is_a_cell_of_the_bound():
  process = process_of(5)
  result = bits(process, toy_network)
  noise = tf.stack([noise_fn(4 - 3)[0], noise_fn(4 - 0)[1]])
  cell = likelihood.evaluate(
    toy_network, process, EXACT, tf.constant(X_START), tf.constant([3, 0]), noise
  )
  for ours, columns in zip(cell, (result.terms, result.x_start_mse, result.eps_mse)):
    np.testing.assert_allclose(ours, [columns[0, 3], columns[1, 0]], rtol=1e-5)


def test_each_image_has_its_own_bits():
  other = X_START.copy()
  other[1] = -other[1]
  first, second = (
    bits(process_of(5), toy_network, x_start=x_start) for x_start in (X_START, other)
  )
  np.testing.assert_allclose(first.total[0], second.total[0], rtol=1e-6)
  assert abs(first.total[1] - second.total[1]) > 1e-3


def test_noise_as_a_prediction_costs_as_much_as_x_start():
  """The parameterisations are one network: bits do not depend on what it predicts."""
  process = process_of(10)

  def eps(x_t, t):
    index = tf.cast(tf.round(t / 100), tf.int32)
    return process.eps_from_x_start(x_t, index, toy_network(x_t, t))

  config = DiffusionConfig(objective="simple", variance_type="fixed_small")
  of_eps, of_x_start = bits(process, eps, config), bits(process, toy_network)
  np.testing.assert_allclose(of_eps.terms, of_x_start.terms, rtol=1e-3, atol=1e-4)


def test_clipping_helps_a_network_that_leaves_the_range():
  def far(x_t, t):
    del x_t, t
    return 5 * tf.constant(np.sign(X_START))

  assert np.all(bits(process_of(5), far).total < bits(process_of(5), far, clip=False).total)


def test_a_graph_gives_the_bits_of_eager_execution():
  process = process_of(6)
  graph = tf.function(lambda: bits(process, toy_network))()
  for ours, eager in zip(graph, bits(process, toy_network)):
    np.testing.assert_allclose(ours, eager, rtol=1e-4, atol=1e-6)
