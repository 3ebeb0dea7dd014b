"""The noising process: its tables follow from the definitions, on any subset of timesteps."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.diffusion.process import GaussianProcess
from iddpm_tf.diffusion.schedules import base as schedules

TABLES = (
  "betas",
  "alphas_cumprod",
  "alphas_cumprod_prev",
  "alphas_cumprod_next",
  "posterior_variance",
  "posterior_log_variance_clipped",
  "large_log_variance",
  "posterior_mean_coef1",
  "posterior_mean_coef2",
)


@pytest.fixture(
  name="process",
  params=[
    ("linear", 100, None),
    ("cosine", 100, None),
    ("cosine", 1000, [0, 1, 7, 400, 999]),
    ("linear", 1000, [3, 500]),
    ("cosine", 4000, [3999]),
  ],
  ids=str,
)
def fixture_process(request):
  schedule, steps, timesteps = request.param
  return GaussianProcess(schedules.make_betas(schedule, steps), timesteps)


def noise(seed, *shape):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def all_timesteps(process):
  t = np.arange(process.num_timesteps, dtype=np.int32)
  return t, noise(0, len(t), 2, 2, 3), noise(1, len(t), 2, 2, 3)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_respacing_to_all_timesteps_changes_nothing(schedule):
  process = GaussianProcess(schedules.make_betas(schedule, 1000))
  np.testing.assert_allclose(process.betas, process.original_betas, rtol=1e-10)
  respaced = process.respaced(np.arange(1000))
  for table in TABLES:
    np.testing.assert_array_equal(getattr(respaced, table), getattr(process, table))


@pytest.mark.parametrize("timesteps", [[0], [99], [0, 50, 99], [5, 6, 90], range(0, 100, 7)])
def test_a_respaced_process_has_the_marginals_of_the_original(timesteps):
  process = GaussianProcess(schedules.make_betas("cosine", 100))
  respaced = process.respaced(timesteps)
  kept = np.array(list(timesteps))
  np.testing.assert_array_equal(respaced.alphas_cumprod, process.alphas_cumprod[kept])
  np.testing.assert_allclose(
    np.cumprod(1 - respaced.betas), process.alphas_cumprod[kept], rtol=1e-8
  )
  x_start, eps = noise(0, len(kept), 2, 2, 1), noise(1, len(kept), 2, 2, 1)
  t = np.arange(len(kept))
  np.testing.assert_array_equal(
    respaced.q_sample(x_start, t, eps), process.q_sample(x_start, kept, eps)
  )


def test_a_respaced_process_is_respaced_again_from_the_original_one():
  process = GaussianProcess(schedules.make_betas("cosine", 100))
  twice = process.respaced([1, 5, 9]).respaced([0, 50])
  np.testing.assert_array_equal(twice.timestep_map, [0, 50])
  np.testing.assert_array_equal(twice.betas, process.respaced([0, 50]).betas)


def test_tables_are_float64_of_the_kept_timesteps(process):
  for table in TABLES:
    values = getattr(process, table)
    assert values.dtype == np.float64 and values.shape == (process.num_timesteps,)
    assert np.all(np.isfinite(values)), table


def test_posterior_is_bayes_rule(process):
  """q(x_{t-1} | x_t, x_0) is proportional to q(x_t | x_{t-1}) q(x_{t-1} | x_0)."""
  t, x_start, x_t = all_timesteps(process)
  t, x_start, x_t = t[1:], x_start[1:], x_t[1:]  # At t = 0, x_{t-1} is x_0 itself.
  beta, prev = (
    table[t][:, None, None, None] for table in (process.betas, process.alphas_cumprod_prev)
  )
  variance = 1 / ((1 - beta) / beta + 1 / (1 - prev))
  mean = variance * (np.sqrt(1 - beta) / beta * x_t + np.sqrt(prev) / (1 - prev) * x_start)
  np.testing.assert_allclose(process.posterior_variance[t], variance[:, 0, 0, 0], rtol=1e-9)
  posterior = process.q_posterior(x_start, x_t, t)
  np.testing.assert_allclose(posterior.mean, mean, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(posterior.log_variance, np.log(variance), rtol=1e-5, atol=1e-5)


def test_posterior_averaged_over_x_t_is_the_marginal(process):
  """E and Var of x_{t-1} over q(x_t | x_0) are those of q(x_{t-1} | x_0)."""
  alpha, prev = process.alphas_cumprod, process.alphas_cumprod_prev
  coef1, coef2 = process.posterior_mean_coef1, process.posterior_mean_coef2
  np.testing.assert_allclose(coef1 + coef2 * np.sqrt(alpha), np.sqrt(prev), rtol=1e-9)
  np.testing.assert_allclose(
    coef2**2 * (1 - alpha) + process.posterior_variance, 1 - prev, rtol=1e-9, atol=1e-15
  )


def test_the_posterior_of_the_first_timestep_is_x_start(process):
  _, x_start, x_t = all_timesteps(process)
  posterior = process.q_posterior(x_start[:1], x_t[:1], [0])
  np.testing.assert_allclose(posterior.mean, x_start[:1], rtol=1e-6)
  assert process.posterior_variance[0] == 0


def test_clipped_log_variances_differ_from_the_exact_at_the_first_timestep_only(process):
  np.testing.assert_allclose(
    np.exp(process.posterior_log_variance_clipped[1:]), process.posterior_variance[1:], rtol=1e-12
  )
  np.testing.assert_allclose(np.exp(process.large_log_variance[1:]), process.betas[1:], rtol=1e-12)
  assert process.large_log_variance[0] == process.posterior_log_variance_clipped[0]


def test_q_sample_has_the_moments_of_the_marginal(process):
  t, x_start, eps = all_timesteps(process)
  moments = process.q_moments(x_start, t)
  np.testing.assert_allclose(
    process.q_sample(x_start, t, eps),
    moments.mean + tf.exp(0.5 * moments.log_variance) * eps,
    rtol=1e-5,
    atol=1e-6,
  )
  # Variance preserving.
  np.testing.assert_allclose(
    process.alphas_cumprod + np.exp(moments.log_variance[:, 0, 0, 0]), 1, rtol=1e-6
  )


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_noise_and_x_start_invert_each_other(schedule):
  process = GaussianProcess(schedules.make_betas(schedule, 1000))
  t, x_start, eps = all_timesteps(process)
  x_t = process.q_sample(x_start, t, eps)
  # Near the end x_0 is multiplied by sqrt(alpha bar), and float32's rounding is divided by it.
  signal = np.sqrt(process.alphas_cumprod)[:, None, None, None]
  ratio = signal / np.sqrt(1 - signal**2)
  assert np.all(np.abs(process.x_start_from_eps(x_t, t, eps) - x_start) <= 1e-6 + 2e-6 / signal)
  assert np.all(np.abs(process.eps_from_x_start(x_t, t, x_start) - eps) <= 3e-6 * (1 + ratio))
  # Any prediction can be converted, not the true one only.
  prediction = noise(2, *eps.shape)
  x_start = process.x_start_from_eps(x_t, t, prediction)
  error = np.abs(process.eps_from_x_start(x_t, t, x_start) - prediction)
  assert np.all(error <= 3e-6 * (1 + ratio))


def test_x_prev_and_x_start_invert_each_other(process):
  t, x_start, x_t = all_timesteps(process)
  mean = process.q_posterior(x_start, x_t, t).mean
  size = 1 / process.posterior_mean_coef1[:, None, None, None]
  assert np.all(np.abs(process.x_start_from_x_prev(x_t, t, mean) - x_start) <= 1e-6 + 2e-6 * size)


def test_the_network_sees_original_timesteps_perhaps_scaled():
  betas = schedules.make_betas("cosine", 4000)
  t = [0, 1, 2]
  scaled = GaussianProcess(betas, [0, 10, 3999]).network_timesteps(t)
  assert scaled.dtype == tf.float32
  np.testing.assert_allclose(scaled, [0, 2.5, 999.75])
  plain = GaussianProcess(betas, [0, 10, 3999], rescale_timesteps=False)
  np.testing.assert_array_equal(plain.network_timesteps(t), [0, 10, 3999])
  np.testing.assert_array_equal(plain.respaced([5, 6, 7]).network_timesteps(t), [5, 6, 7])


@pytest.mark.parametrize("betas", [[], [0.0, 0.1], [0.1, 1.0], [-0.1], [float("nan")], [1.5]])
def test_betas_outside_0_to_1_are_refused(betas):
  with pytest.raises(settings.InputError, match=r"^betas: expected numbers in \(0, 1\), received"):
    GaussianProcess(betas)


@pytest.mark.parametrize("timesteps", [[], [1, 1], [2, 1], [-1, 0], [0, 10], [10]])
def test_timesteps_that_do_not_increase_or_do_not_exist_are_refused(timesteps):
  message = r"^timesteps: expected increasing numbers in \[0, 10\), received"
  with pytest.raises(settings.InputError, match=message):
    GaussianProcess([0.1] * 10, timesteps)
