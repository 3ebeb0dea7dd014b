"""Ancestral sampling of data whose best network is known."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.diffusion.samplers import ancestral
from iddpm_tf.diffusion.samplers import loop
from tests.diffusion.samplers import gaussian_data


def draw_exactly(variance, steps, kept):
  """Draws 12,800 pixels with the exact network in `kept` of `steps` steps."""
  sampler = ancestral.Ancestral(kept)
  whole = gaussian_data.make_diffusion(steps, objective="vlb", variance_type=variance)
  diffusion = sampler.respace(whole)
  network = gaussian_data.exact_network(diffusion)
  noise_fn = gaussian_data.make_noise((200, 8, 8, 1))
  draw = tf.function(
    lambda: loop.draw(network, diffusion, sampler, noise_fn, gaussian_data.FREE).image,
    autograph=False,
  )
  return draw().numpy()


@pytest.mark.parametrize(
  "variance, steps, kept",
  [
    ("learned", 1000, 50),
    ("learned_range", 1000, 50),
    ("learned_range", 100, 100),
    ("fixed_small", 500, 500),
    ("fixed_large", 500, 500),
  ],
)
def test_samples_have_the_distribution_of_the_data(variance, steps, kept):
  """With the exact variance in any number of steps, and with a fixed one in many."""
  image = draw_exactly(variance, steps, kept)
  # The standard errors of these are 0.0035 and 0.0025.
  assert abs(np.mean(image) - gaussian_data.MEAN) < 0.015
  assert abs(np.std(image) - gaussian_data.DEVIATION) < 0.012


def test_samples_of_few_steps_with_the_small_variance_are_too_narrow():
  """The reason to learn the variance (section 3.1)."""
  deviations = {
    variance: np.std(draw_exactly(variance, 1000, 6))
    for variance in ("fixed_small", "learned_range")
  }
  assert deviations["fixed_small"] < 0.9 * deviations["learned_range"]
  assert abs(deviations["learned_range"] - gaussian_data.DEVIATION) < 0.02
