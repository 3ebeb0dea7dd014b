"""Ensembles of two models: which model is used at which timestep."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.config import DiffusionConfig
from iddpm_tf.diffusion import ensembles
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion import likelihood
from iddpm_tf.diffusion.samplers import base
from iddpm_tf.diffusion.samplers import loop

DIFFUSION = gaussian_diffusion.make_diffusion(DiffusionConfig(diffusion_steps=50))


def constant_network(value, seen=None):
  """Returns a network with a constant output; `seen` collects the timesteps of its calls."""

  def model_fn(x_t, t):
    if seen is not None:
      tf.py_function(lambda t: seen.extend(t.numpy().tolist()), [t], [])
    return tf.fill(tf.concat([tf.shape(x_t)[:3], [2]], 0), value)

  return model_fn


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("steps", [0, 1, 10, 24])
def test_the_ends_are_original_timesteps_of_a_respaced_process_too(rescale, steps):
  config = DiffusionConfig(diffusion_steps=50, rescale_timesteps=rescale)
  whole = gaussian_diffusion.make_diffusion(config)
  kept = np.array([0, 1, 9, 10, 11, 25, 26, 39, 40, 48, 49])
  for diffusion in (whole, whole.respaced(kept)):
    process, count = diffusion.process, diffusion.num_timesteps
    model_fn = ensembles.ends_and_middle(
      constant_network(1.0), constant_network(2.0), diffusion, steps
    )
    output = model_fn(tf.zeros([count, 4, 4, 1]), process.network_timesteps(tf.range(count)))
    original = process.timestep_map
    expected = np.where((original < steps) | (original >= 50 - steps), 1.0, 2.0)
    np.testing.assert_array_equal(output[:, 0, 0, 0], expected)
    assert output.shape == (count, 4, 4, 2)


def test_a_model_is_not_run_at_the_timesteps_of_the_other():
  ends, middle = [], []
  model_fn = ensembles.ends_and_middle(
    constant_network(1.0, ends), constant_network(2.0, middle), DIFFUSION, 10
  )
  sampler = base.parse("ancestral:10")
  diffusion = sampler.respace(DIFFUSION)

  @tf.function(autograph=False)
  def draw():
    noise_fn = loop.seeded_noise(tf.constant([0, 1], tf.int64), (4, 4, 1))
    return loop.draw(model_fn, diffusion, sampler, noise_fn).image

  draw()
  # Each of the timesteps 0, 5, 11, ..., 49 is evaluated for both images by one model.
  kept = diffusion.process.timestep_map
  at_end = (kept < 10) | (kept >= 40)
  assert sorted({round(t / 20) for t in ends}) == sorted(kept[at_end])
  assert sorted({round(t / 20) for t in middle}) == sorted(kept[~at_end])
  assert len(ends) == 2 * at_end.sum() and len(middle) == 2 * (~at_end).sum()


def test_each_term_of_the_likelihood_is_that_of_the_model_at_its_timestep():
  diffusion = gaussian_diffusion.make_diffusion(DiffusionConfig(diffusion_steps=10))
  pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 1))
  x_start = tf.constant(pixels / 127.5 - 1, tf.float32)
  noise_fn = loop.seeded_noise(tf.range(3, dtype=tf.int64), (4, 4, 1))
  networks = {"ends": constant_network(0.3), "middle": constant_network(-0.2)}
  networks["both"] = ensembles.ends_and_middle(networks["ends"], networks["middle"], diffusion, 3)
  terms = {
    name: likelihood.bits_per_dim(network, diffusion, x_start, noise_fn).terms.numpy()
    for name, network in networks.items()
  }
  expected = terms["middle"].copy()
  expected[:, :3], expected[:, 7:] = terms["ends"][:, :3], terms["ends"][:, 7:]
  np.testing.assert_allclose(terms["both"], expected, rtol=1e-6)


def test_ends_of_half_the_timesteps_each_leave_none_to_the_middle():
  model_fn = ensembles.ends_and_middle(constant_network(1.0), constant_network(2.0), DIFFUSION, 25)
  t = DIFFUSION.process.network_timesteps(tf.range(50))
  assert np.all(model_fn(tf.zeros([50, 2, 2, 1]), t) == 1.0)
