"""The loops of all samplers: their timesteps, noise, trajectory and progress."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.config import DiffusionConfig
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.diffusion.samplers import base
from iddpm_tf.diffusion.samplers import loop
from tests.diffusion.samplers import gaussian_data
from tests.diffusion.samplers.gaussian_data import draw_toy
from tests.diffusion.samplers.gaussian_data import make_noise


@pytest.mark.parametrize("text", ["ancestral:5", "ddim:5:1", "ancestral:1"])
def test_only_the_last_step_adds_no_noise(text):
  steps = base.parse(text).steps
  noise_fn = make_noise()

  def louder(at):
    return lambda k: noise_fn(k) + (1000.0 if k == at else 0.0)

  image = draw_toy(text).image
  np.testing.assert_array_equal(draw_toy(text, noise_fn=louder(steps)).image, image)
  if steps > 1:
    free = draw_toy(text, options=gaussian_data.FREE).image
    other = draw_toy(text, noise_fn=louder(steps - 1), options=gaussian_data.FREE).image
    assert np.all(other != free)


def test_the_network_sees_original_timesteps():
  seen = []

  def model_fn(x_t, t):
    seen.append(t.numpy().tolist())
    return gaussian_data.toy_network(x_t, t)

  sampler = base.parse("ancestral:4")
  diffusion = sampler.respace(gaussian_data.make_diffusion(100))
  loop.draw(model_fn, diffusion, sampler, make_noise())
  assert seen == [[99, 99], [66, 66], [33, 33], [0, 0]]
  seen.clear()
  loop.encode(model_fn, diffusion, tf.zeros([1, 4, 4, 1]))
  assert seen == [[0], [33], [66], [99]]


@pytest.mark.parametrize("text", ["ancestral", "ancestral:7", "ddim:10", "ddim:10:0.5", "ddim:1"])
def test_the_trajectory_begins_with_noise_and_ends_with_the_image(text):
  samples = draw_toy(text, options=loop.LoopOptions(trajectory=True))
  steps = base.parse(text).steps or 20
  assert samples.trajectory.shape == (steps + 1, *gaussian_data.SHAPE)
  np.testing.assert_array_equal(samples.trajectory[0], make_noise()(0))
  np.testing.assert_array_equal(samples.trajectory[-1], samples.image)
  plain = draw_toy(text)
  assert plain.trajectory is None
  np.testing.assert_array_equal(plain.image, samples.image)


@pytest.mark.parametrize("text", ["ancestral:6", "ddim:10:0.5"])
def test_the_loop_can_begin_with_given_latents(text):
  start = make_noise(seed=3)(0)
  samples = draw_toy(text, options=loop.LoopOptions(trajectory=True, start=start))
  np.testing.assert_array_equal(samples.trajectory[0], start)
  same = draw_toy(text, options=loop.LoopOptions(start=make_noise()(0)))
  np.testing.assert_array_equal(same.image, draw_toy(text).image)


@pytest.mark.parametrize("text", ["ancestral:6", "ddim:10:0.5"])
def test_every_predicted_image_can_be_kept(text):
  """The last one is the image. Others are not x_t."""
  samples = draw_toy(text, options=loop.LoopOptions(predictions=True, trajectory=True))
  assert samples.predictions.shape == (len(samples.trajectory) - 1, *gaussian_data.SHAPE)
  np.testing.assert_allclose(samples.predictions[-1], samples.image, atol=1e-6)
  assert np.abs(samples.predictions).max() <= 1  # They are clipped, as what is drawn from them.
  assert np.abs(samples.predictions[0] - samples.trajectory[1]).max() > 0.1
  np.testing.assert_array_equal(samples.image, draw_toy(text).image)
  assert draw_toy(text).predictions is None


@pytest.mark.parametrize("text", ["ancestral:6", "ddim:10:0.5"])
def test_graph_and_eager_execution_agree(text):
  for options in (loop.LoopOptions(), loop.LoopOptions(clip=False, trajectory=True)):
    eager = draw_toy(text, options=options)
    graph = tf.function(lambda options=options: draw_toy(text, options=options), autograph=False)()
    np.testing.assert_allclose(graph.image, eager.image, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wrap", [lambda function: function, tf.function])
def test_the_callback_gets_the_number_of_each_finished_step(wrap):
  numbers = []
  options = loop.LoopOptions(on_step=loop.python_callback(numbers.append))
  image = wrap(lambda: draw_toy("ancestral:6", options=options).image)()
  assert numbers == [1, 2, 3, 4, 5, 6] and all(type(number) is int for number in numbers)
  np.testing.assert_allclose(image, draw_toy("ancestral:6").image, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wrap", [lambda function: function, tf.function])
@pytest.mark.parametrize("clip", [True, False])
def test_values_outside_their_ranges_are_counted(wrap, clip):
  """x_0 is outside in one value of four, but not in the last step; v is outside in half of them."""
  config = DiffusionConfig(mean_type="x_start", diffusion_steps=5)
  diffusion = gaussian_diffusion.make_diffusion(config)

  def model_fn(x_t, t):
    x_start = tf.constant([2.0, -1.0, 0.5, 1.0])[None, None, :, None] + tf.zeros_like(x_t)
    x_start = tf.where(t[:, None, None, None] == 0, 0.0, x_start)
    v = tf.constant([-0.1, 0.0, 1.1, 1.0])[None, None, :, None] + tf.zeros_like(x_t)
    return tf.concat([x_start, 2 * v - 1], axis=-1)

  ends = []
  options = loop.LoopOptions(clip=clip, on_end=loop.python_callback(ends.append))
  noise_fn, sampler = make_noise(), base.parse("ancestral")
  image = wrap(lambda: loop.draw(model_fn, diffusion, sampler, noise_fn, options).image)()
  size = int(np.prod(gaussian_data.SHAPE))
  expected = loop.OutOfRange(
    x_start=4 * size // 4, last_x_start=0, v=5 * size // 2, values=5 * size, last_values=size
  )
  assert ends == [list(expected)]
  plain = loop.draw(model_fn, diffusion, sampler, noise_fn, loop.LoopOptions(clip=clip)).image
  np.testing.assert_allclose(image, plain, rtol=1e-5, atol=1e-5)


def test_clipping_keeps_images_in_the_range():
  noise_fn = make_noise()

  def draw(options):
    return draw_toy("ancestral:6", noise_fn=lambda k: 5 * noise_fn(k), options=options).image

  assert np.max(np.abs(draw(loop.LoopOptions()))) <= 1
  assert np.max(np.abs(draw(gaussian_data.FREE))) > 1


def test_the_constraint_holds_for_the_image():
  options = loop.LoopOptions(constrain=lambda x_start: tf.zeros_like(x_start) + 0.25)
  np.testing.assert_allclose(draw_toy("ancestral:6", options=options).image, 0.25, rtol=1e-6)


@pytest.mark.parametrize("text", ["ancestral:5", "ddim:5:0.7", "ddim:5"])
def test_an_image_depends_on_its_own_seed_only(text):
  def draw(*seeds):
    noise_fn = loop.seeded_noise(tf.constant(seeds, tf.int64), (4, 4, 1))
    return draw_toy(text, noise_fn=noise_fn).image.numpy()

  batch = draw(3, 2**40, 5, 3)
  np.testing.assert_allclose(draw(5)[0], batch[2], atol=1e-6)  # Alone.
  np.testing.assert_allclose(draw(5, 7)[0], batch[2], atol=1e-6)  # At another position.
  np.testing.assert_array_equal(batch[0], batch[3])
  for other in (1, 2):
    assert np.abs(batch[0] - batch[other]).max() > 0.01


def test_seeded_noise_is_standard_normal_and_new_in_each_step_and_stream():
  seeds = tf.range(60, dtype=tf.int64)
  noise_fn = loop.seeded_noise(seeds, (8, 8, 4))
  first, second = noise_fn(tf.constant(0)).numpy(), noise_fn(tf.constant(1)).numpy()
  stream = loop.seeded_noise(seeds, (8, 8, 4), stream=1)(tf.constant(0)).numpy()
  assert first.shape == (60, 8, 8, 4) and first.dtype == np.float32
  for noise in (first, second, stream):
    assert abs(noise.mean()) < 0.03 and abs(noise.std() - 1) < 0.03
  for other in (second, stream):
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.03
    # The noise of a seed is not that of the seed before in the next step.
    assert abs(np.corrcoef(first[1:].ravel(), other[:-1].ravel())[0, 1]) < 0.03
  assert len(np.unique(first)) > 0.99 * first.size


@pytest.mark.parametrize("mean", ["eps", "x_start", "x_prev"])
@pytest.mark.parametrize("name", ["ancestral", "ddim"])
def test_one_step_draws_a_finite_image(name, mean):
  config = DiffusionConfig(mean_type=mean, objective="simple", variance_type="fixed_small")
  last_of_many = gaussian_data.make_diffusion(4000).process.respaced([3999])
  for process in (process_lib.GaussianProcess([0.5]), last_of_many):
    diffusion = gaussian_diffusion.GaussianDiffusion(process, config)
    samples = loop.draw(gaussian_data.toy_network, diffusion, base.parse(name), make_noise())
    assert np.all(np.isfinite(samples.image))
