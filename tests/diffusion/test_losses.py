"""The objectives: what each trains, and that it is an unbiased estimate of the bound."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.config import DiffusionConfig
from iddpm_tf.diffusion import likelihood
from iddpm_tf.diffusion import losses
from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.diffusion import schedules

STEPS = 30
MEANS = ("eps", "x_start", "x_prev")
PROCESS = process_lib.GaussianProcess(schedules.cosine_betas(STEPS))
SHORT = PROCESS.respaced([0, 1, 5, 17, 29])


def normal(seed, *shape):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def pixels(batch):
  return (np.random.default_rng(7).integers(0, 256, (batch, 2, 3, 1)) / 127.5 - 1).astype(
    np.float32
  )


def batch_of(t):
  t = np.asarray(t, np.int32)
  x_start, noise = pixels(len(t)), normal(1, len(t), 2, 3, 1)
  return {"x_start": x_start, "x_t": PROCESS.q_sample(x_start, t, noise), "t": t, "noise": noise}


def output_of(config, batch, seed=2):
  count = len(batch["t"])
  return tf.constant(0.1 * normal(seed, count, 2, 3, 2 if config.learns_variance else 1))


def output_gradients(config, batch, part):
  """Of one of the losses: for the mean's half of the output and for the variance's."""
  output = output_of(config, batch)
  with tf.GradientTape() as tape:
    tape.watch(output)
    value = getattr(losses.training_losses(PROCESS, config, output, **batch), part)
  gradient = tape.gradient(
    value, output, unconnected_gradients=tf.UnconnectedGradients.ZERO
  ).numpy()
  return gradient[..., :1], gradient[..., 1:]


@pytest.mark.parametrize("variance", ["learned", "learned_range"])
@pytest.mark.parametrize("mean", MEANS)
def test_in_hybrid_the_bound_guides_the_variance_only(mean, variance):
  config = DiffusionConfig(mean_type=mean, variance_type=variance)
  batch = batch_of([0, 1, 10, STEPS - 1])
  of_mean, of_variance = output_gradients(config, batch, "vlb")
  assert not of_mean.any()
  assert np.all(np.abs(of_variance).max(axis=(1, 2, 3)) > 0)
  of_mean, of_variance = output_gradients(config, batch, "mse")
  assert np.all(np.abs(of_mean).max(axis=(1, 2, 3)) > 0)
  assert not of_variance.any()


def test_in_vlb_the_bound_guides_both():
  for part in output_gradients(
    DiffusionConfig(objective="vlb"), batch_of([0, 1, 10, STEPS - 1]), "vlb"
  ):
    assert np.all(np.abs(part).max(axis=(1, 2, 3)) > 0)


@pytest.mark.parametrize("mean", MEANS)
def test_simple_is_the_mse_of_hybrid(mean):
  batch = batch_of(range(STEPS))
  hybrid = DiffusionConfig(mean_type=mean)
  simple = DiffusionConfig(mean_type=mean, objective="simple", variance_type="fixed_small")
  output = output_of(hybrid, batch)
  of_hybrid = losses.training_losses(PROCESS, hybrid, output, **batch)
  of_simple = losses.training_losses(PROCESS, simple, output[..., :1], **batch)
  np.testing.assert_array_equal(of_simple.loss, of_hybrid.mse)
  np.testing.assert_array_equal(of_simple.mse, of_hybrid.mse)
  assert not np.any(of_simple.vlb)
  np.testing.assert_allclose(of_hybrid.loss, of_hybrid.mse + of_hybrid.vlb, rtol=1e-6)


@pytest.mark.parametrize("mean", MEANS)
def test_simple_is_zero_for_the_truth_and_each_example_s_own(mean):
  batch = batch_of([0, 3, STEPS - 1])
  config = DiffusionConfig(mean_type=mean, objective="simple", variance_type="fixed_small")
  truth = {
    "eps": batch["noise"],
    "x_start": batch["x_start"],
    "x_prev": PROCESS.q_posterior(batch["x_start"], batch["x_t"], batch["t"]).mean,
  }[mean]
  off = np.array([0, 2, 0], np.float32)[:, None, None, None]
  np.testing.assert_allclose(
    losses.training_losses(PROCESS, config, tf.constant(truth + off), **batch).loss,
    [0, 4, 0],
    atol=1e-5,
  )


def test_vlb_has_no_mse():
  batch = batch_of([0, 5])
  config = DiffusionConfig(objective="vlb")
  result = losses.training_losses(PROCESS, config, output_of(config, batch), **batch)
  assert not np.any(result.mse)
  np.testing.assert_array_equal(result.loss, result.vlb)


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large", "learned", "learned_range"])
@pytest.mark.parametrize("mean", MEANS)
def test_uniform_timesteps_estimate_the_sum_of_the_bound_s_terms(mean, variance):
  """The mean over all t of T L_t is the sum of the likelihood's terms, for the same noise."""
  config = DiffusionConfig(mean_type=mean, variance_type=variance, objective="vlb")
  x_start, noise = pixels(2), normal(1, SHORT.num_timesteps, 2, 2, 3, 1)

  def denoise_fn(x_t, t):
    value = 0.3 * x_t + 0.1 * tf.sin(t / 100)[:, None, None, None]
    return tf.concat([value, 0.2 * tf.tanh(x_t)], axis=-1) if config.learns_variance else value

  t = np.repeat(np.arange(SHORT.num_timesteps, dtype=np.int32), 2)  # Every t of both images.
  every_x_start, every_noise = (
    np.tile(x_start, (SHORT.num_timesteps, 1, 1, 1)),
    noise.reshape(-1, 2, 3, 1),
  )
  x_t = SHORT.q_sample(every_x_start, t, every_noise)
  estimates = losses.training_losses(
    SHORT,
    config,
    denoise_fn(x_t, SHORT.network_timesteps(t)),
    x_start=every_x_start,
    x_t=x_t,
    t=t,
    noise=every_noise,
  ).loss
  by_evaluation = tf.constant(noise[::-1])  # The likelihood starts at the last timestep.
  terms = likelihood.bits_per_dim(
    denoise_fn, SHORT, config, tf.constant(x_start), lambda k: by_evaluation[k], clip=False
  ).terms
  means = np.mean(tf.reshape(estimates, [-1, 2]), axis=0)
  np.testing.assert_allclose(means, np.sum(terms, axis=1), rtol=1e-5)


def test_vlb_weight_is_lambda_unless_it_is_set():
  fixed = {"objective": "simple", "variance_type": "fixed_small"}
  assert losses.vlb_weight(DiffusionConfig()) == 0.001
  assert losses.vlb_weight(DiffusionConfig(objective="vlb")) == 1
  assert losses.vlb_weight(DiffusionConfig(**fixed)) == 0
  assert losses.vlb_weight(DiffusionConfig(vlb_weight=0.2)) == 0.2


@pytest.mark.parametrize("objective", ["hybrid", "vlb"])
def test_vlb_weight_scales_the_bound_and_nothing_else(objective):
  batch = batch_of([0, 2, 20])
  one, three = (DiffusionConfig(objective=objective, vlb_weight=weight) for weight in (1.0, 3.0))
  output = output_of(one, batch)
  once = losses.training_losses(PROCESS, one, output, **batch)
  thrice = losses.training_losses(PROCESS, three, output, **batch)
  np.testing.assert_allclose(thrice.vlb, 3 * once.vlb, rtol=1e-6)
  np.testing.assert_array_equal(thrice.mse, once.mse)


def test_the_prior_is_small_and_vanishes_with_the_signal():
  x_start = pixels(3)
  prior = losses.prior_term(process_lib.GaussianProcess(schedules.linear_betas(1000)), x_start)
  assert prior.shape == (3,) and np.all(prior >= 0) and np.all(prior < 1e-4)
  assert np.all(losses.prior_term(process_lib.GaussianProcess([0.5]), x_start) > 1e-2)


@pytest.mark.parametrize("objective", ["hybrid", "vlb"])
def test_a_network_far_off_has_finite_losses_and_gradients(objective):
  config = DiffusionConfig(objective=objective)
  batch = batch_of([0, 0, 1, STEPS - 1])
  output = tf.constant(1e4 * normal(3, 4, 2, 3, 2))
  with tf.GradientTape() as tape:
    tape.watch(output)
    value = losses.training_losses(PROCESS, config, output, **batch).loss
  assert np.all(np.isfinite(value)) and np.all(np.isfinite(tape.gradient(value, output)))
