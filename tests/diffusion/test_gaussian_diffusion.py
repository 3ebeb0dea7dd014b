"""The reverse process that a network's output describes."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.config import DiffusionConfig
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.diffusion.schedules import base as schedules

FIXED = {"objective": "simple", "variance_type": "fixed_small"}


def make_diffusion(schedule="cosine", steps=50, **settings):
  config = DiffusionConfig(noise_schedule=schedule, diffusion_steps=steps, **settings)
  return gaussian_diffusion.make_diffusion(config)


def normal(seed, *shape):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def all_timesteps(diffusion):
  """Returns all timesteps, and two arrays of noise with one image per timestep."""
  t = np.arange(diffusion.num_timesteps, dtype=np.int32)
  return t, normal(0, len(t), 2, 2, 3), normal(1, len(t), 2, 2, 3)


def test_the_process_is_that_of_the_configuration():
  diffusion = make_diffusion("linear", 30, rescale_timesteps=False)
  np.testing.assert_array_equal(
    diffusion.process.original_betas, schedules.make_betas("linear", 30)
  )
  assert not diffusion.process.rescale_timesteps
  assert diffusion.num_timesteps == 30


def test_a_respaced_diffusion_has_the_same_configuration():
  diffusion = make_diffusion(mean_type="x_start")
  respaced = diffusion.respaced([3, 20])
  assert respaced.config is diffusion.config
  assert respaced.num_timesteps == 2
  np.testing.assert_array_equal(respaced.process.timestep_map, [3, 20])


@pytest.mark.parametrize("mean", ["eps", "x_start", "x_prev"])
def test_the_three_parameterisations_describe_the_same_prediction(mean):
  diffusion = make_diffusion("linear", mean_type=mean, **FIXED)
  t, x_start, eps = all_timesteps(diffusion)
  x_t = diffusion.process.q_sample(x_start, t, eps)
  posterior = diffusion.process.q_posterior(x_start, x_t, t)
  outputs = {"eps": eps, "x_start": x_start, "x_prev": posterior.mean}
  prediction = diffusion.predict(tf.constant(outputs[mean]), x_t, t, clip=False)
  np.testing.assert_allclose(prediction.x_start, x_start, rtol=1e-3, atol=1e-3)
  np.testing.assert_allclose(prediction.mean, posterior.mean, rtol=1e-4, atol=1e-4)
  np.testing.assert_array_equal(prediction.log_variance, posterior.log_variance)


def test_the_learned_range_is_from_the_posterior_variance_to_beta():
  diffusion = make_diffusion()
  t, x_start, x_t = all_timesteps(diffusion)

  def log_variance(v):
    output = tf.concat([x_start, tf.fill(x_start.shape, v)], axis=-1)
    return diffusion.predict(output, x_t, t, clip=False).log_variance[:, 0, 0, 0]

  lower = diffusion.process.posterior_log_variance_clipped
  upper = np.log(diffusion.process.betas)
  np.testing.assert_allclose(log_variance(-1.0), lower, rtol=1e-5)
  np.testing.assert_allclose(log_variance(1.0), upper, rtol=1e-5)
  np.testing.assert_allclose(log_variance(0.0), (lower + upper) / 2, rtol=1e-5)


def test_clipping_changes_x_start_and_the_mean():
  diffusion = make_diffusion(mean_type="x_start", **FIXED)
  t, x_start, x_t = all_timesteps(diffusion)
  prediction = diffusion.predict(tf.constant(3 * x_start), x_t, t, clip=True)
  clipped = np.clip(3 * x_start, -1, 1)
  np.testing.assert_array_equal(prediction.x_start, clipped)
  mean = diffusion.process.q_posterior(clipped, x_t, t).mean
  np.testing.assert_array_equal(prediction.mean, mean)


@pytest.mark.parametrize("mean", ["eps", "x_start", "x_prev"])
def test_a_constraint_is_applied_after_clipping_and_changes_the_mean(mean):
  diffusion = make_diffusion(mean_type=mean, **FIXED)
  t, output, x_t = all_timesteps(diffusion)
  clipped = diffusion.predict(tf.constant(output), x_t, t, clip=True).x_start
  constrained = diffusion.predict(
    tf.constant(output), x_t, t, clip=True, constrain=lambda x_start: 0.5 * x_start
  )
  np.testing.assert_array_equal(constrained.x_start, 0.5 * clipped)
  expected = diffusion.process.q_posterior(0.5 * clipped, x_t, t).mean
  np.testing.assert_array_equal(constrained.mean, expected)


@pytest.mark.parametrize(
  "betas, timesteps",
  [
    ([0.5], None),
    ([1e-4], None),
    ([0.999], None),
    (schedules.make_betas("cosine", 4000), [3999]),
    (schedules.make_betas("linear", 1000), [0]),
  ],
  ids=str,
)
@pytest.mark.parametrize("mean", ["eps", "x_start", "x_prev"])
def test_predictions_of_a_process_of_one_step_are_finite(betas, timesteps, mean):
  process = process_lib.GaussianProcess(betas, timesteps)
  for variance in ("fixed_small", "fixed_large", "learned", "learned_range"):
    config = DiffusionConfig(mean_type=mean, variance_type=variance, objective="vlb")
    diffusion = gaussian_diffusion.GaussianDiffusion(process, config)
    t, output, x_t = all_timesteps(diffusion)
    if config.learns_variance:
      output = tf.concat([output, output], axis=-1)
    for part in diffusion.predict(tf.constant(output), x_t, t, clip=False):
      assert part is None or np.all(np.isfinite(part))


def test_the_output_is_split_where_the_variance_is_learned():
  output = tf.constant(normal(0, 2, 3, 3, 6))
  mean_output, variance_output = make_diffusion().split_output(output)
  np.testing.assert_array_equal(mean_output, output[..., :3])
  np.testing.assert_array_equal(variance_output, output[..., 3:])
  whole, nothing = make_diffusion(**FIXED).split_output(output)
  assert whole is output and nothing is None


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.995, 1.0])
def test_dynamic_thresholding_divides_by_the_quantile_of_each_image(quantile):
  x_start = normal(0, 4, 5, 3, 2) * np.array([0.1, 1, 3, 30], np.float32)[:, None, None, None]
  scaled = gaussian_diffusion.scale_into_range(tf.constant(x_start), quantile).numpy()
  for ours, image in zip(scaled, x_start, strict=True):
    s = max(np.quantile(np.abs(image), quantile), 1.0)
    np.testing.assert_allclose(ours, np.clip(image, -s, s) / s, rtol=1e-5)
  np.testing.assert_array_equal(scaled[0], x_start[0])  # Inside the range already.
  assert np.max(np.abs(scaled)) <= 1


@pytest.mark.parametrize("clip", [True, False])
def test_dynamic_thresholding_takes_the_place_of_clipping(clip):
  diffusion = make_diffusion(mean_type="x_start", **FIXED)
  t, x_start, eps = all_timesteps(diffusion)
  x_start = 5 * x_start
  x_t = diffusion.process.q_sample(x_start, t, eps)
  prediction = diffusion.predict(tf.constant(x_start), x_t, t, clip=clip, dynamic_threshold=0.9)
  expected = gaussian_diffusion.scale_into_range(tf.constant(x_start), 0.9)
  np.testing.assert_array_equal(prediction.x_start, expected)
  np.testing.assert_array_equal(prediction.free_x_start, x_start)
  np.testing.assert_array_equal(
    prediction.mean, diffusion.process.q_posterior(expected, x_t, t).mean
  )
  assert prediction.v is None
