"""DDIM: its differential equation, its reverse, and its noise."""

import fractions
import math
import types

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.diffusion.samplers import ddim
from iddpm_tf.diffusion.samplers import loop
from tests.diffusion.samplers import gaussian_data
from tests.diffusion.samplers.gaussian_data import DEVIATION
from tests.diffusion.samplers.gaussian_data import MEAN


def test_ddim_solves_its_differential_equation():
  """For Gaussian data it maps each pixel of x_T to MEAN + DEVIATION * x_T."""
  diffusion = gaussian_data.make_diffusion(1000)
  network = gaussian_data.exact_network(diffusion)
  noise_fn = gaussian_data.make_noise((2, 8, 8, 1))
  draw = tf.function(
    lambda: loop.draw(network, diffusion, ddim.DDIM(), noise_fn, gaussian_data.FREE).image,
    autograph=False,
  )
  np.testing.assert_allclose(draw(), MEAN + DEVIATION * noise_fn(0), atol=0.02)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_ddim_draws_the_images_that_its_reverse_has_encoded(schedule):
  diffusion = gaussian_data.make_diffusion(500, schedule)
  network = gaussian_data.exact_network(diffusion)
  image = MEAN + DEVIATION * gaussian_data.make_noise((2, 8, 8, 1), seed=5)(0)

  @tf.function(autograph=False)
  def encode_and_draw():
    latents = loop.encode(network, diffusion, image, gaussian_data.FREE).image
    options = loop.LoopOptions(clip=False, start=latents)
    unused = gaussian_data.make_noise(image.shape)
    return latents, loop.draw(network, diffusion, ddim.DDIM(), unused, options).image

  latents, drawn = encode_and_draw()
  np.testing.assert_allclose(drawn, image, atol=0.03)
  np.testing.assert_allclose(latents, (image - MEAN) / DEVIATION, atol=0.06)


def test_ddim_with_eta_1_is_ancestral_sampling_with_the_small_variance():
  ancestral, noisy_ddim = (
    gaussian_data.draw_toy(text).image for text in ("ancestral", "ddim:20:1")
  )
  np.testing.assert_allclose(noisy_ddim, ancestral, atol=1e-3)


def test_ddim_with_eta_0_depends_on_its_start_only():
  def start_only(k):
    if k == 0:
      return gaussian_data.make_noise()(0)
    return tf.fill(gaussian_data.SHAPE, np.nan)

  image = gaussian_data.draw_toy("ddim:10", noise_fn=start_only).image
  np.testing.assert_array_equal(image, gaussian_data.draw_toy("ddim:10").image)


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_the_share_of_the_noise_is_exact_where_almost_no_image_is_left(eta):
  """With eta = 1 it is sqrt(alpha bar) or so, the difference of numbers near 1."""
  process = process_lib.GaussianProcess(np.full(10, 0.9))
  t = tf.range(1, 10)
  diffusion = types.SimpleNamespace(process=process)
  prediction = types.SimpleNamespace(x_start=tf.zeros([9, 1, 1, 1]))
  steps = ddim.DDIM(eta=eta).step(diffusion, prediction, tf.ones([9, 1, 1, 1]), t, 0.0)
  alphas = list(map(fractions.Fraction, process.alphas_cumprod))
  for step, alpha, before in zip(steps.numpy().ravel(), alphas[1:], alphas[:-1], strict=True):
    variance = fractions.Fraction(eta) ** 2 * (1 - before) / (1 - alpha) * (1 - alpha / before)
    expected = math.sqrt((1 - before - variance) / (1 - alpha))  # The noise of x_t = 1 and x_0 = 0.
    assert step == pytest.approx(expected, rel=1e-6)
