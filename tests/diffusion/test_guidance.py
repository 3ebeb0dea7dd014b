"""Guidance without a classifier, and by the gradient of one."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.config import DiffusionConfig
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion import guidance
from iddpm_tf.diffusion.samplers import base
from iddpm_tf.diffusion.samplers import loop
from tests.diffusion.samplers import gaussian_data

DIFFUSION = gaussian_diffusion.make_diffusion(DiffusionConfig(diffusion_steps=100))
X_T = tf.constant(np.random.default_rng(0).normal(size=(3, 4, 4, 1)), tf.float32)
T = tf.constant([10.0, 500.0, 990.0])  # As the network sees timesteps.
LABEL = tf.constant([0, 1, 4])
NO_LABEL = 5


def network(x_t, t, label):
  """Returns eps and a variance that depend on everything."""
  factor = tf.cast(label + 1, tf.float32)[:, None, None, None]
  eps = factor * x_t + tf.sin(t)[:, None, None, None]
  return tf.concat([eps, 0.1 * factor * x_t], axis=-1)


def guided(scale, model_fn=network, **options):
  scales = tf.broadcast_to(tf.constant(scale, tf.float32), [3])
  return guidance.classifier_free(
    model_fn, DIFFUSION, label=LABEL, no_label=NO_LABEL, scale=scales, **options
  )(X_T, T)


def test_a_scale_of_1_is_the_network_with_its_label_exactly():
  np.testing.assert_array_equal(guided(1.0), network(X_T, T, LABEL))


def test_eps_is_extrapolated_and_the_variance_is_that_of_the_label():
  """Ho & Salimans (2022), Eq. 6."""
  scales = np.array([0.0, 2.5, -1.0])
  with_label, without = (network(X_T, T, each).numpy() for each in (LABEL, tf.fill([3], NO_LABEL)))
  output = guided(scales).numpy()
  expected = without + scales[:, None, None, None] * (with_label - without)
  np.testing.assert_allclose(output[..., 0], expected[..., 0], rtol=1e-5)
  np.testing.assert_array_equal(output[..., 1], with_label[..., 1])
  np.testing.assert_allclose(output[0, ..., 0], without[0, ..., 0], rtol=1e-5)


def test_both_halves_are_one_batch():
  sizes = []

  def model_fn(x_t, t, label):
    sizes.append(len(x_t))
    return network(x_t, t, label)

  guided(2.0, model_fn)
  assert sizes == [6]


@pytest.mark.parametrize("ends, on", [((0.0, 1e9), [0, 1, 2]), ((0.5, 3.0), [1]), ((1e8, 1e9), [])])
def test_guidance_in_an_interval_of_noise_levels(ends, on):
  levels = np.sqrt(1 / DIFFUSION.process.alphas_cumprod - 1)[[1, 50, 99]]
  assert [i for i, level in enumerate(levels) if ends[0] <= level <= ends[1]] == on
  output, everywhere, plain = guided(2.0, interval=ends), guided(2.0), network(X_T, T, LABEL)
  for i in range(3):
    np.testing.assert_array_equal(output[i], (everywhere if i in on else plain)[i])


def test_a_loop_evaluates_the_network_once_outside_of_the_interval():
  sizes = []

  def model_fn(x_t, t, label):
    del label
    sizes.append(len(x_t))
    return gaussian_data.toy_network(x_t, t)

  sampler = base.parse("ddim:5")
  diffusion = sampler.respace(gaussian_data.make_diffusion(100))
  levels = np.sqrt(1 / diffusion.process.alphas_cumprod - 1)
  function = guidance.classifier_free(
    model_fn,
    diffusion,
    label=tf.constant([0, 1]),
    no_label=5,
    scale=tf.constant([2.0, 2.0]),
    interval=(levels[1] - 1e-6, levels[2] + 1e-6),
  )
  loop.draw(function, diffusion, sampler, gaussian_data.make_noise())
  assert sizes == [2, 2, 4, 4, 2]


class Quadratic:
  """log p(label | x_t) = -|x_t - label|^2 / 2, whose gradient is label - x_t."""

  num_classes, variables = 5, ()

  def log_prob(self, x_t, t, label):
    del t
    centre = tf.cast(label, tf.float32)[:, None, None, None]
    return -0.5 * tf.reduce_sum(tf.square(x_t - centre), axis=[1, 2, 3])


def test_the_gradient_of_a_classifier():
  scale = tf.constant([1.0, 2.0, 0.0])
  gradient = guidance.classifier_gradient(Quadratic(), LABEL, scale)(X_T, T)
  centre = np.reshape(LABEL, [3, 1, 1, 1])
  np.testing.assert_allclose(gradient, np.reshape(scale, [3, 1, 1, 1]) * (centre - X_T), rtol=1e-6)


@pytest.mark.parametrize("text", ["ancestral:250", "ddim:100", "dpmpp_2m:30", "heun:20"])
def test_guided_images_follow_the_product_of_data_and_classifier(text):
  """The gradient of log N(x_0; 1, 0.5^2) as x_t sees it, added to the score of the data."""
  sampler = base.parse(text)
  whole = gaussian_data.make_diffusion(1000)
  diffusion = sampler.respace(whole)
  alphas = np.sqrt(whole.process.alphas_cumprod)
  variances = alphas**2 * gaussian_data.DEVIATION**2 + 1 - alphas**2

  def gradient(x_t, t):
    """The posterior of x_0 has the precision 1/0.4^2 + 1/0.5^2."""
    index = tf.cast(t, tf.int32)
    alpha, variance = (
      tf.gather(tf.constant(table, tf.float32), index)[:, None, None, None]
      for table in (alphas, variances)
    )
    data = gaussian_data.DEVIATION**2
    # x_0 given x_t, and log p(y | x_t) with y = 1 of x_0 with the variance 0.25.
    mean = gaussian_data.MEAN + alpha * data / variance * (x_t - alpha * gaussian_data.MEAN)
    spread = data * (1 - alpha**2) / variance + 0.25
    return alpha * data / variance * (1.0 - mean) / spread

  options = loop.LoopOptions(clip=False, classifier_gradient=gradient)
  network_fn = gaussian_data.exact_network(diffusion)
  noise_fn = gaussian_data.make_noise((50, 8, 8, 1))
  image = tf.function(
    lambda: loop.draw(network_fn, diffusion, sampler, noise_fn, options).image,
    autograph=False,
  )().numpy()
  precision = 1 / gaussian_data.DEVIATION**2 + 4
  mean = (gaussian_data.MEAN / gaussian_data.DEVIATION**2 + 4) / precision
  assert abs(np.mean(image) - mean) < 0.02
  assert abs(np.std(image) - precision**-0.5) < 0.03
