"""Drawing beside known pixels, and from a picture at a noise level."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.diffusion.samplers import base
from iddpm_tf.diffusion.samplers import known_pixels
from iddpm_tf.diffusion.samplers import loop
from tests.diffusion.samplers import gaussian_data
from tests.diffusion.samplers.gaussian_data import make_noise

SHAPE = (3, 4, 4, 1)
PICTURE = np.linspace(-1, 1, 48, dtype=np.float32).reshape(SHAPE)
LOWER_HALF = np.broadcast_to(np.arange(4)[:, None, None] >= 2, SHAPE)
SAMPLERS = ("ancestral:8", "ddim:10", "dpmpp_2m:8", "dpmpp_2s:9", "heun:6", "heun_churn:6")


def draw(text, strength=(1.0, 1.0, 1.0), drawn=LOWER_HALF, chosen=slice(None), **options):
  """Draws beside `PICTURE`, and returns the images and the evaluated timesteps."""
  seen = []

  def model_fn(x_t, t):
    seen.append(int(t[0]))
    return gaussian_data.toy_network(x_t, t)

  def of_chosen(noise_fn):
    return lambda k: noise_fn(k)[chosen]

  sampler = base.parse(text)
  diffusion = sampler.respace(gaussian_data.make_diffusion(100))
  known = known_pixels.Known(
    tf.constant(PICTURE[chosen]),
    tf.constant(drawn[chosen]),
    tf.constant(strength, tf.float32)[chosen],
    of_chosen(make_noise(SHAPE, seed=7)),
    **options,
  )
  noise_fn = of_chosen(make_noise(SHAPE))
  image = loop.draw(model_fn, diffusion, sampler, noise_fn, loop.LoopOptions(known=known)).image
  return image.numpy(), seen


@pytest.mark.parametrize("text", SAMPLERS)
def test_known_pixels_keep_their_values_exactly(text):
  image, _ = draw(text)
  np.testing.assert_array_equal(image[~LOWER_HALF], PICTURE[~LOWER_HALF])
  assert np.all(image[LOWER_HALF] != PICTURE[LOWER_HALF])


@pytest.mark.parametrize("text", SAMPLERS)
def test_an_image_does_not_depend_on_the_others_of_its_batch(text):
  """Though the loop begins with the image that begins first."""
  strength = (0.3, 1.0, 0.7)
  together, _ = draw(text, strength)
  for i in range(3):
    alone, _ = draw(text, strength, chosen=slice(i, i + 1))
    np.testing.assert_allclose(alone, together[i : i + 1], atol=1e-6)


@pytest.mark.parametrize("text", SAMPLERS)
def test_a_smaller_strength_stays_closer_to_the_picture(text):
  everything = np.ones(SHAPE, bool)
  distances = [
    np.mean(np.abs(draw(text, [strength] * 3, everything)[0] - PICTURE))
    for strength in (0.15, 0.5, 1.0)
  ]
  assert 0 < distances[0] < distances[1] < distances[2]


def test_only_the_steps_that_are_needed_are_evaluated():
  everything = np.ones(SHAPE, bool)
  assert draw("ddim:10", (0.3, 0.2, 0.3), everything)[1] == [20, 10, 0]
  assert draw("ddim:10", (0.01, 0.02, 0.01), everything)[1] == [0]  # A step is the least.
  assert len(draw("heun:10", (0.3, 0.2, 0.3), everything)[1]) == 5


def test_a_strength_below_1_begins_with_the_picture():
  """At the last timestep of the process, alpha bar is small but not 0."""
  everything = np.ones(SHAPE, bool)
  nearly, _ = draw("ddim:10", (0.99, 1.0, 1.0), everything)
  new, _ = draw("ddim:10", (1.0, 1.0, 1.0), everything)
  assert np.any(nearly[0] != new[0])
  np.testing.assert_array_equal(nearly[1:], new[1:])


def test_the_schedule_of_resampling():
  """Draws each stretch `times` times, as in RePaint's Appendix B."""
  schedule = known_pixels.Resampling(times=2, length=3).schedule(10).tolist()
  assert schedule == [9, 8, 7, 9, 8, 7, 6, 5, 4, 6, 5, 4, 3, 2, 1, 3, 2, 1, 0]
  assert known_pixels.Resampling(times=1, length=3).schedule(4).tolist() == [3, 2, 1, 0]
  # Too few steps to go back.
  assert known_pixels.Resampling(times=5, length=9).schedule(4).tolist() == [3, 2, 1, 0]


def test_resampling_evaluates_its_schedule():
  resampling = known_pixels.Resampling(times=2, length=3)
  image, seen = draw("ancestral:10", resampling=resampling)
  kept = base.parse("ancestral:10").timesteps(gaussian_data.make_diffusion(100))
  assert seen == kept[resampling.schedule(10)].tolist()
  np.testing.assert_array_equal(image[~LOWER_HALF], PICTURE[~LOWER_HALF])


def test_going_back_keeps_the_distribution():
  """Without known pixels, resampled images have the distribution of the data."""
  sampler = base.parse("ancestral:50")
  whole = gaussian_data.make_diffusion(1000, objective="vlb", variance_type="learned_range")
  diffusion = sampler.respace(whole)
  network = gaussian_data.exact_network(diffusion)
  shape = (100, 8, 8, 1)
  known = known_pixels.Known(
    tf.zeros(shape),
    tf.ones(shape, tf.bool),
    tf.ones(shape[:1]),
    make_noise(shape, seed=9),
    known_pixels.Resampling(times=3, length=10),
  )
  options = loop.LoopOptions(clip=False, known=known)
  image = tf.function(
    lambda: loop.draw(network, diffusion, sampler, make_noise(shape), options).image,
    autograph=False,
  )().numpy()
  assert abs(np.mean(image) - gaussian_data.MEAN) < 0.02
  assert abs(np.std(image) - gaussian_data.DEVIATION) < 0.015
