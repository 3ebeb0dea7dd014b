"""Two models as one: which of them denoises at which timestep."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.config import DiffusionConfig
from iddpm_tf.diffusion import ensembles
from iddpm_tf.diffusion import likelihood
from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.diffusion import respacing
from iddpm_tf.diffusion import samplers

CONFIG = DiffusionConfig(diffusion_steps=50)


def constant(value, seen=None):
  """A network that says the same of every pixel, and where it was asked."""

  def denoise_fn(x_t, t):
    if seen is not None:
      tf.py_function(lambda t: seen.extend(t.numpy().tolist()), [t], [])
    return tf.fill(tf.concat([tf.shape(x_t)[:3], [2]], 0), value)

  return denoise_fn


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("steps", [0, 1, 10, 24])
def test_the_ends_are_the_first_and_last_timesteps_of_the_original_process(rescale, steps):
  config = DiffusionConfig(diffusion_steps=50, rescale_timesteps=rescale)
  process = process_lib.make_process(config)
  kept = np.array([0, 1, 9, 10, 11, 25, 26, 39, 40, 48, 49])
  for of in (process, process.respaced(kept)):
    denoise_fn = ensembles.ends_and_middle(constant(1.0), constant(2.0), of, config, steps)
    t = tf.range(of.num_timesteps)
    output = denoise_fn(tf.zeros([of.num_timesteps, 4, 4, 1]), of.network_timesteps(t))
    original = of.timestep_map
    expected = np.where((original < steps) | (original >= 50 - steps), 1.0, 2.0)
    np.testing.assert_array_equal(output[:, 0, 0, 0], expected)
    assert output.shape == (of.num_timesteps, 4, 4, 2)


def test_the_model_that_has_no_part_is_not_run():
  process = process_lib.make_process(CONFIG)
  ends, middle = [], []
  denoise_fn = ensembles.ends_and_middle(
    constant(1.0, ends), constant(2.0, middle), process, CONFIG, 10
  )
  spec = samplers.SamplerSpec.parse("ancestral:10")
  respaced = spec.respace(process)

  @tf.function(autograph=False)
  def draw():
    return samplers.draw(
      denoise_fn,
      respaced,
      CONFIG,
      spec,
      samplers.seeded_noise(tf.constant([0, 1], tf.int64), (4, 4, 1)),
    ).image

  draw()
  # Timesteps 0, 5, 11, ..., 49, each for both images, one model each.
  of_process = respaced.timestep_map
  at_end = (of_process < 10) | (of_process >= 40)
  assert sorted({round(t / 20) for t in ends}) == sorted(of_process[at_end])
  assert sorted({round(t / 20) for t in middle}) == sorted(of_process[~at_end])
  assert len(ends) == 2 * at_end.sum() and len(middle) == 2 * (~at_end).sum()


def test_the_likelihood_of_an_ensemble_takes_each_term_of_its_model():
  process = process_lib.make_process(CONFIG)
  x_start = tf.constant(
    np.random.default_rng(0).integers(0, 256, (3, 4, 4, 1)) / 127.5 - 1, tf.float32
  )
  noise_fn = samplers.seeded_noise(tf.range(3, dtype=tf.int64), (4, 4, 1))
  fns = {"ends": constant(0.3), "middle": constant(-0.2)}
  fns["both"] = ensembles.ends_and_middle(fns["ends"], fns["middle"], process, CONFIG, 10)
  terms = {
    name: likelihood.bits_per_dim(fn, process, CONFIG, x_start, noise_fn).terms.numpy()
    for name, fn in fns.items()
  }
  expected = terms["middle"].copy()
  expected[:, :10], expected[:, 40:] = terms["ends"][:, :10], terms["ends"][:, 40:]
  np.testing.assert_allclose(terms["both"], expected, rtol=1e-6)


def test_halves_that_meet_leave_nothing_to_the_middle():
  process = process_lib.make_process(CONFIG)
  whole = respacing.space_timesteps(50, "")
  output = ensembles.ends_and_middle(constant(1.0), constant(2.0), process, CONFIG, 25)(
    tf.zeros([50, 2, 2, 1]), process.network_timesteps(tf.constant(whole))
  )
  assert np.all(output == 1.0)
