"""The objectives: what each trains, and that each is an unbiased estimate of the bound."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.config import DiffusionConfig
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion import likelihood
from iddpm_tf.diffusion import losses
from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.diffusion.schedules import base as schedules

STEPS = 30
MEANS = ("eps", "x_start", "x_prev")


def make_diffusion(**settings):
  return gaussian_diffusion.make_diffusion(DiffusionConfig(diffusion_steps=STEPS, **settings))


PROCESS = make_diffusion().process


def normal(seed, *shape):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def pixels(count):
  levels = np.random.default_rng(7).integers(0, 256, (count, 2, 3, 1))
  return (levels / 127.5 - 1).astype(np.float32)


def make_batch(t):
  """Returns images, noise and x_t for timesteps, as `training_losses` takes them."""
  t = np.asarray(t, np.int32)
  x_start, noise = pixels(len(t)), normal(1, len(t), 2, 3, 1)
  return {"x_start": x_start, "x_t": PROCESS.q_sample(x_start, t, noise), "t": t, "noise": noise}


def random_output(diffusion, batch):
  channels = 2 if diffusion.config.learns_variance else 1
  return tf.constant(0.1 * normal(2, len(batch["t"]), 2, 3, channels))


def output_gradients(diffusion, batch, part):
  """Returns the gradients of one of the losses: for the mean's output and for the variance's."""
  output = random_output(diffusion, batch)
  with tf.GradientTape() as tape:
    tape.watch(output)
    value = getattr(losses.training_losses(diffusion, output, **batch), part)
  zero = tf.UnconnectedGradients.ZERO
  gradient = tape.gradient(value, output, unconnected_gradients=zero).numpy()
  return gradient[..., :1], gradient[..., 1:]


def largest(gradient):
  """Returns the largest absolute gradient of each example."""
  return np.abs(gradient).max(axis=(1, 2, 3))


@pytest.mark.parametrize("variance", ["learned", "learned_range"])
@pytest.mark.parametrize("mean", MEANS)
def test_the_bound_of_hybrid_trains_the_variance_only(mean, variance):
  diffusion = make_diffusion(mean_type=mean, variance_type=variance)
  batch = make_batch([0, 1, 10, STEPS - 1])
  for_mean, for_variance = output_gradients(diffusion, batch, "vlb")
  assert not for_mean.any()
  assert np.all(largest(for_variance) > 0)
  for_mean, for_variance = output_gradients(diffusion, batch, "mse")
  assert np.all(largest(for_mean) > 0)
  assert not for_variance.any()


def test_the_bound_of_vlb_trains_both():
  diffusion = make_diffusion(objective="vlb")
  for gradient in output_gradients(diffusion, make_batch([0, 1, 10, STEPS - 1]), "vlb"):
    assert np.all(largest(gradient) > 0)


@pytest.mark.parametrize("mean", MEANS)
def test_simple_is_the_mse_of_hybrid(mean):
  batch = make_batch(range(STEPS))
  hybrid = make_diffusion(mean_type=mean)
  simple = make_diffusion(mean_type=mean, objective="simple", variance_type="fixed_small")
  output = random_output(hybrid, batch)
  of_hybrid = losses.training_losses(hybrid, output, **batch)
  of_simple = losses.training_losses(simple, output[..., :1], **batch)
  np.testing.assert_array_equal(of_simple.loss, of_hybrid.mse)
  np.testing.assert_array_equal(of_simple.mse, of_hybrid.mse)
  assert not np.any(of_simple.vlb)
  np.testing.assert_allclose(of_hybrid.loss, of_hybrid.mse + of_hybrid.vlb, rtol=1e-6)


@pytest.mark.parametrize("mean", MEANS)
def test_simple_is_zero_for_the_true_output_of_each_example(mean):
  batch = make_batch([0, 3, STEPS - 1])
  diffusion = make_diffusion(mean_type=mean, objective="simple", variance_type="fixed_small")
  truth = {
    "eps": batch["noise"],
    "x_start": batch["x_start"],
    "x_prev": PROCESS.q_posterior(batch["x_start"], batch["x_t"], batch["t"]).mean,
  }[mean]
  error = np.array([0, 2, 0], np.float32)[:, None, None, None]
  loss = losses.training_losses(diffusion, tf.constant(truth + error), **batch).loss
  np.testing.assert_allclose(loss, [0, 4, 0], atol=1e-5)


def test_the_objective_vlb_leaves_out_mse_and_shows_it():
  batch = make_batch([0, 5])
  diffusion = make_diffusion(objective="vlb")
  result = losses.training_losses(diffusion, random_output(diffusion, batch), **batch)
  assert np.all(result.mse > 0)  # By which a training that diverges is found.
  np.testing.assert_array_equal(result.loss, result.vlb)


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large", "learned", "learned_range"])
@pytest.mark.parametrize("mean", MEANS)
def test_uniform_timesteps_estimate_the_sum_of_the_terms_of_the_bound(mean, variance):
  """For the same noise, the mean of T L_t over all t is the sum of the likelihood's terms."""
  whole = make_diffusion(mean_type=mean, variance_type=variance, objective="vlb")
  diffusion = whole.respaced([0, 1, 5, 17, 29])
  process, steps = diffusion.process, diffusion.num_timesteps
  x_start, noise = pixels(2), normal(1, steps, 2, 2, 3, 1)

  def model_fn(x_t, t):
    mean_output = 0.3 * x_t + 0.1 * tf.sin(t / 100)[:, None, None, None]
    if not diffusion.config.learns_variance:
      return mean_output
    return tf.concat([mean_output, 0.2 * tf.tanh(x_t)], axis=-1)

  t = np.repeat(np.arange(steps, dtype=np.int32), 2)  # Each t for both images.
  all_x_start = np.tile(x_start, (steps, 1, 1, 1))
  all_noise = noise.reshape(-1, 2, 3, 1)
  x_t = process.q_sample(all_x_start, t, all_noise)
  estimates = losses.training_losses(
    diffusion,
    model_fn(x_t, process.network_timesteps(t)),
    x_start=all_x_start,
    x_t=x_t,
    t=t,
    noise=all_noise,
  ).loss
  noise_of_evaluation = tf.constant(noise[::-1])  # The likelihood begins at the last timestep.
  terms = likelihood.bits_per_dim(
    model_fn, diffusion, tf.constant(x_start), lambda k: noise_of_evaluation[k], clip=False
  ).terms
  means = np.mean(tf.reshape(estimates, [-1, 2]), axis=0)
  np.testing.assert_allclose(means, np.sum(terms, axis=1), rtol=1e-5)


def test_the_default_of_vlb_weight_depends_on_the_objective():
  fixed = {"objective": "simple", "variance_type": "fixed_small"}
  assert losses.vlb_weight(DiffusionConfig()) == 0.001
  assert losses.vlb_weight(DiffusionConfig(objective="vlb")) == 1
  assert losses.vlb_weight(DiffusionConfig(**fixed)) == 0
  assert losses.vlb_weight(DiffusionConfig(vlb_weight=0.2)) == 0.2


@pytest.mark.parametrize("objective", ["hybrid", "vlb"])
def test_vlb_weight_scales_the_bound_only(objective):
  batch = make_batch([0, 2, 20])
  first, second = (make_diffusion(objective=objective, vlb_weight=weight) for weight in (1.0, 3.0))
  output = random_output(first, batch)
  once = losses.training_losses(first, output, **batch)
  thrice = losses.training_losses(second, output, **batch)
  np.testing.assert_allclose(thrice.vlb, 3 * once.vlb, rtol=1e-6)
  np.testing.assert_array_equal(thrice.mse, once.mse)


def test_the_prior_term_is_small_where_no_signal_is_left():
  x_start = pixels(3)
  linear = process_lib.GaussianProcess(schedules.make_betas("linear", 1000))
  prior = losses.prior_term(linear, x_start)
  assert prior.shape == (3,) and np.all(prior >= 0) and np.all(prior < 1e-4)
  assert np.all(losses.prior_term(process_lib.GaussianProcess([0.5]), x_start) > 1e-2)


@pytest.mark.parametrize("objective", ["hybrid", "vlb"])
def test_losses_and_gradients_of_enormous_outputs_are_finite(objective):
  diffusion = make_diffusion(objective=objective)
  batch = make_batch([0, 0, 1, STEPS - 1])
  output = tf.constant(1e4 * normal(3, 4, 2, 3, 2))
  with tf.GradientTape() as tape:
    tape.watch(output)
    value = losses.training_losses(diffusion, output, **batch).loss
  assert np.all(np.isfinite(value)) and np.all(np.isfinite(tape.gradient(value, output)))
