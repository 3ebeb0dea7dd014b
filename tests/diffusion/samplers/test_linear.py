"""DPM-Solver++ and Heun: what they have in common with other samplers, and their noise."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.diffusion.samplers import base
from iddpm_tf.diffusion.samplers import linear
from iddpm_tf.diffusion.samplers import loop
from tests.diffusion.samplers import gaussian_data
from tests.diffusion.samplers.gaussian_data import draw_toy
from tests.diffusion.samplers.gaussian_data import make_noise


def seen_by_network(text, steps=100):
  """Returns the original timesteps at which the network is evaluated."""
  seen = []

  def model_fn(x_t, t):
    seen.append(int(t[0]))
    return gaussian_data.toy_network(x_t, t)

  sampler = base.parse(text)
  diffusion = sampler.respace(gaussian_data.make_diffusion(steps))
  loop.draw(model_fn, diffusion, sampler, make_noise())
  assert len(seen) == sampler.num_evaluations(steps)
  return seen


@pytest.mark.parametrize(
  "text, same",
  [
    ("dpmpp_2m:2", "ddim:2:logsnr"),
    ("dpmpp_sde:2", "ancestral:2:logsnr"),
    ("heun_churn:6:0", "heun:6"),
    ("dpmpp_2m:9:uniform:skip0.8", "ddim:9:uniform:skip0.8"),
  ],
)
def test_samplers_that_are_the_same_in_a_special_case(text, same):
  """Steps of first order are DDIM's, or ancestral with the smaller variance."""
  np.testing.assert_allclose(draw_toy(text).image, draw_toy(same).image, atol=2e-5)


@pytest.mark.parametrize(
  "text, timesteps",
  [
    ("dpmpp_2m:4:uniform", [99, 66, 33, 0]),
    ("dpmpp_2s:4:uniform", [99, 66, 33, 0]),
    ("heun:4:uniform", [99, 66, 66, 33, 33, 0, 0]),
    ("heun:4:uniform:skip0.5", [33, 0, 0]),
  ],
)
def test_the_timesteps_at_which_the_network_is_evaluated(text, timesteps):
  assert seen_by_network(text) == timesteps


def test_steps_of_churn_begin_at_higher_noise_levels():
  """At most by a factor of sqrt(2), and not outside the range of levels."""
  levels = np.sqrt(1 / gaussian_data.make_diffusion(1000).process.alphas_cumprod - 1)
  plain = levels[seen_by_network("heun:10", 1000)][::2]
  churned = levels[seen_by_network("heun_churn:10:40:0.05:50", 1000)][::2]
  inside = (plain >= 0.05) & (plain <= 50)
  inside[0] = False  # Noise alone.
  np.testing.assert_allclose(churned[inside] / plain[inside], np.sqrt(2), rtol=0.03)
  np.testing.assert_array_equal(churned[~inside], plain[~inside])


@pytest.mark.parametrize("text", ["dpmpp_sde:40", "heun_churn:40", "heun_churn:40:40:0.05:50:1"])
def test_stochastic_solvers_draw_the_distribution_of_the_data(text):
  sampler = base.parse(text)
  diffusion = sampler.respace(gaussian_data.make_diffusion(1000))
  network = gaussian_data.exact_network(diffusion)
  noise_fn = make_noise((100, 8, 8, 1))
  draw = tf.function(
    lambda: loop.draw(network, diffusion, sampler, noise_fn, gaussian_data.FREE).image,
    autograph=False,
  )
  image = draw().numpy()
  # The standard errors are 0.005 and 0.0035.
  assert abs(np.mean(image) - gaussian_data.MEAN) < 0.015
  assert abs(np.std(image) - gaussian_data.DEVIATION) < 0.012
  # The image depends on the noise of the steps, not on x_T alone.
  start = noise_fn(0).numpy()
  assert abs(np.corrcoef(image.ravel(), start.ravel())[0, 1]) < 0.9


@pytest.mark.parametrize("text", ["dpmpp_2m:8", "dpmpp_2s:8", "heun:8", "heun_churn:8:0"])
def test_solvers_of_the_ordinary_equation_use_no_noise_but_the_first(text):
  def start_only(k):
    return make_noise()(0) if k == 0 else tf.fill(gaussian_data.SHAPE, np.nan)

  np.testing.assert_array_equal(draw_toy(text, noise_fn=start_only).image, draw_toy(text).image)


def test_a_step_cannot_begin_with_an_image_of_the_step_before():
  """Edited images begin at any step, and have none before it."""

  class Multistep(linear.LinearSampler):
    """Keeps an image over the end of a step."""

    name = "multistep"

    def coefficients(self, diffusion):
      table = linear.Coefficients.zeros(diffusion.num_timesteps)
      table.kept_x[1:] = 1
      return table

  sampler = Multistep(3)
  diffusion = sampler.respace(gaussian_data.make_diffusion(10))
  with pytest.raises(ValueError, match=r"^multistep: expected kept_x = 0 at the first evaluation"):
    loop.draw(gaussian_data.toy_network, diffusion, sampler, make_noise())


@pytest.mark.parametrize("text", ["dpmpp_2m:1", "dpmpp_2s:2", "dpmpp_sde:1", "heun:1"])
def test_too_few_steps_are_refused(text):
  name = text.partition(":")[0]
  message = rf"^samplers: expected \d steps or more, which {name} requires, received \d$"
  with pytest.raises(settings.InputError, match=message):
    base.parse(text)


def test_too_few_steps_that_are_left_are_refused():
  sampler = base.parse("dpmpp_2m:4:skip0.8")
  with pytest.raises(settings.InputError, match=r"^samplers: expected 2 steps or more, received"):
    sampler.respace(gaussian_data.make_diffusion(100))


@pytest.mark.parametrize(
  "text",
  [
    "heun_churn:8:-1",
    "heun_churn:8:40:2:1",
    "heun_churn:8:40:0:1:0",
    "heun_churn:5:40:0.05:50:inf",
  ],
)
def test_wrong_values_of_churn_are_refused(text):
  with pytest.raises(settings.InputError, match=r"^samplers: expected .*S_"):
    base.parse(text)
