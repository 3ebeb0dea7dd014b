"""The variational bound, for networks whose bound is known."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from iddpm_tf.config import DiffusionConfig
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion import likelihood
from iddpm_tf.diffusion import losses
from iddpm_tf.diffusion import respacing

X_START = (np.random.default_rng(0).integers(1, 255, (2, 3, 4, 1)) / 127.5 - 1).astype(np.float32)
X_START_FIXED = {
  "mean_type": "x_start",
  "objective": "simple",
  "variance_type": "fixed_small",
}


def noise_fn(k):
  return tf.random.stateless_normal(X_START.shape, tf.stack([3, k]), alg="philox")


def perfect_network(x_t, t):
  """Predicts the true x_0 from any x_t."""
  del x_t, t
  return tf.constant(X_START)


def toy_network(x_t, t):
  return 0.3 * x_t + 0.1 * tf.sin(t / 100)[:, None, None, None]


def make_diffusion(steps, **settings):
  config = DiffusionConfig(diffusion_steps=steps, **(settings or X_START_FIXED))
  return gaussian_diffusion.make_diffusion(config)


def bits_per_dim(diffusion, network=perfect_network, x_start=X_START, **options):
  return likelihood.bits_per_dim(network, diffusion, tf.constant(x_start), noise_fn, **options)


def test_a_perfect_network_has_the_decoder_term_only():
  diffusion = make_diffusion(20)
  result = bits_per_dim(diffusion)
  assert result.terms.shape == (2, 20)
  np.testing.assert_allclose(result.terms[:, 1:], 0, atol=1e-6)
  scale = np.exp(0.5 * diffusion.process.posterior_log_variance_clipped[0])
  # No pixel is at an end of the range, and the Gaussian is in the middle of the pixel's bin.
  probability = scipy.special.erf(1 / 255 / scale / np.sqrt(2))
  np.testing.assert_allclose(result.terms[:, 0], -np.log2(probability), rtol=1e-4)
  np.testing.assert_allclose(result.x_start_mse, 0, atol=1e-12)
  np.testing.assert_allclose(result.eps_mse, 0, atol=1e-6)


@pytest.mark.parametrize("variance", ["fixed_large", "learned"])
def test_a_variance_other_than_the_posterior_s_has_larger_terms(variance):
  diffusion = make_diffusion(10, mean_type="x_start", objective="vlb", variance_type=variance)

  def network(x_t, t):
    wrong = tf.concat([X_START, tf.zeros_like(X_START)], axis=-1)
    return wrong if variance == "learned" else perfect_network(x_t, t)

  assert np.all(bits_per_dim(diffusion, network).terms[:, 1:] > 1e-4)


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_the_total_is_the_sum_of_the_prior_and_the_terms(steps):
  diffusion = make_diffusion(steps)
  result = bits_per_dim(diffusion, toy_network)
  np.testing.assert_allclose(result.total, result.prior + np.sum(result.terms, axis=1), rtol=1e-5)
  np.testing.assert_allclose(result.prior, losses.prior_term(diffusion.process, X_START))
  assert np.all(np.asarray(result.terms) >= 0) and np.all(np.isfinite(result.total))


@pytest.mark.parametrize("steps, count", [(50, 5), (21, 4)])
def test_the_schedule_of_appendix_e_has_one_column_per_timestep(steps, count):
  timesteps = respacing.likelihood_timesteps(steps, count)
  strided = {round(i * (steps - 1) / (count - 1)) for i in range(count)}
  expected = strided | set(range(steps // count))
  result = bits_per_dim(make_diffusion(steps).respaced(timesteps), toy_network)
  for column in (result.terms, result.x_start_mse, result.eps_mse):
    assert column.shape == (2, len(expected))


def test_column_t_is_timestep_t_and_the_noise_begins_at_the_last_timestep():
  diffusion, seen = make_diffusion(5), []

  def model_fn(x_t, t):
    seen.append(float(t[0]))
    return toy_network(x_t, t)

  result = bits_per_dim(diffusion, model_fn, clip=False)
  assert seen == [800, 600, 400, 200, 0]  # Scaled by 1000 / T.
  for t in range(5):
    x_t = diffusion.process.q_sample(X_START, [t, t], noise_fn(4 - t))
    prediction = toy_network(x_t, tf.fill([2], 200.0 * t))
    mse = np.mean(np.square(prediction - X_START), axis=(1, 2, 3))
    np.testing.assert_allclose(result.x_start_mse[:, t], mse, rtol=1e-5)


@pytest.mark.parametrize("timesteps", [2, 3, 5, 7])
def test_timesteps_can_be_evaluated_together(timesteps):
  diffusion, sizes = make_diffusion(5), []

  def model_fn(x_t, t):
    sizes.append(len(t))
    return toy_network(x_t, t)

  expected = bits_per_dim(diffusion, toy_network)
  result = bits_per_dim(diffusion, model_fn, timesteps_at_a_time=timesteps)
  for ours, one_by_one in zip(result, expected, strict=True):
    np.testing.assert_allclose(ours, one_by_one, rtol=1e-6, atol=1e-7)
  assert sizes == [2 * timesteps] * likelihood.num_calls(5, timesteps)


def test_an_evaluation_with_one_timestep_per_image_is_a_part_of_the_bound():
  diffusion = make_diffusion(5)
  result = bits_per_dim(diffusion, toy_network)
  noise = tf.stack([noise_fn(4 - 3)[0], noise_fn(4 - 0)[1]])
  evaluation = likelihood.evaluate(
    toy_network, diffusion, tf.constant(X_START), tf.constant([3, 0]), noise
  )
  columns = (result.terms, result.x_start_mse, result.eps_mse)
  for ours, column in zip(evaluation, columns, strict=True):
    np.testing.assert_allclose(ours, [column[0, 3], column[1, 0]], rtol=1e-5)


def test_the_bits_of_an_image_do_not_depend_on_the_others():
  other = X_START.copy()
  other[1] = -other[1]
  diffusion = make_diffusion(5)
  first, second = (
    bits_per_dim(diffusion, toy_network, x_start=x_start) for x_start in (X_START, other)
  )
  np.testing.assert_allclose(first.total[0], second.total[0], rtol=1e-6)
  assert abs(first.total[1] - second.total[1]) > 1e-3


def test_the_bits_do_not_depend_on_what_the_network_predicts():
  """The same network is given as a prediction of eps and as one of x_0."""
  of_x_start = make_diffusion(10)
  process = of_x_start.process

  def eps_network(x_t, t):
    index = tf.cast(tf.round(t / 100), tf.int32)
    return process.eps_from_x_start(x_t, index, toy_network(x_t, t))

  of_eps = make_diffusion(10, objective="simple", variance_type="fixed_small")
  np.testing.assert_allclose(
    bits_per_dim(of_eps, eps_network).terms,
    bits_per_dim(of_x_start, toy_network).terms,
    rtol=1e-3,
    atol=1e-4,
  )


def test_clipping_improves_the_bound_of_predictions_outside_the_range():
  def network(x_t, t):
    del x_t, t
    return 5 * tf.constant(np.sign(X_START))

  diffusion = make_diffusion(5)
  clipped, free = (bits_per_dim(diffusion, network, clip=clip).total for clip in (True, False))
  assert np.all(clipped < free)


def test_graph_and_eager_execution_agree():
  diffusion = make_diffusion(6)
  graph = tf.function(lambda: bits_per_dim(diffusion, toy_network), autograph=False)()
  for ours, eager in zip(graph, bits_per_dim(diffusion, toy_network), strict=True):
    np.testing.assert_allclose(ours, eager, rtol=1e-4, atol=1e-6)
