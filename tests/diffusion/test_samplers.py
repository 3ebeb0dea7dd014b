"""Samplers, with the exact network of Gaussian data in place of a trained one."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.config import DiffusionConfig
from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.diffusion import samplers
from iddpm_tf.diffusion import schedules
from iddpm_tf.diffusion.samplers import Options
from iddpm_tf.diffusion.samplers import SamplerSpec

MEAN, DEVIATION = 0.3, 0.4  # Of the data, N(0.3, 0.4^2 I).
FREE = Options(clip=False)
FIXED = {"objective": "simple", "variance_type": "fixed_small"}


def process_of(steps, schedule="cosine"):
  return process_lib.GaussianProcess(schedules.make_betas(schedule, steps), rescale_timesteps=False)


def exact_network(process, config):
  """E[eps | x_t] of the Gaussian data, and the variance of x_{t-1} given x_t where that is learned."""
  tables = {
    table: np.zeros(len(process.original_betas)) for table in ("alpha", "log_variance", "v")
  }
  alpha = process.alphas_cumprod
  of_x_start = DEVIATION**2 * (1 - alpha) / (alpha * DEVIATION**2 + 1 - alpha)  # Var[x_0 | x_t].
  variance = process.posterior_variance + process.posterior_mean_coef1**2 * of_x_start
  lower, upper = process.posterior_log_variance_clipped, np.log(process.betas)
  tables["alpha"][process.timestep_map] = alpha
  tables["log_variance"][process.timestep_map] = np.log(variance)
  span = np.where(upper > lower, upper - lower, 1.0)
  tables["v"][process.timestep_map] = 2 * (np.log(variance) - lower) / span - 1

  def denoise_fn(x_t, t):
    t = tf.cast(t, tf.int32)
    alpha = process_lib.at(tables["alpha"], t)
    eps = tf.sqrt(1 - alpha) * (x_t - tf.sqrt(alpha) * MEAN) / (alpha * DEVIATION**2 + 1 - alpha)
    if not config.learns_variance:
      return eps
    table = tables["log_variance" if config.variance_type == "learned" else "v"]
    return tf.concat([eps, process_lib.at(table, t) + tf.zeros_like(eps)], axis=-1)

  return denoise_fn


def toy_network(x_t, t):
  """Of fixed variance: anything that depends on both arguments."""
  return 0.3 * x_t + 0.1 * tf.sin(t / 10)[:, None, None, None]


def noise_of(shape, seed=0):
  def noise_fn(k):
    return tf.random.stateless_normal(shape, tf.stack([seed, k]), alg="philox")

  return noise_fn


def draw_toy(text, steps=20, noise_fn=noise_of((2, 4, 4, 1)), options=Options()):
  spec = SamplerSpec.parse(text)
  process = spec.respace(process_of(steps))
  return samplers.draw(toy_network, process, DiffusionConfig(**FIXED), spec, noise_fn, options)


@pytest.mark.parametrize(
  "text, spec, name",
  [
    ("ancestral", ("ancestral", None, 0), "ancestral"),
    ("ancestral:250", ("ancestral", 250, 0), "ancestral_250"),
    ("ddim", ("ddim", None, 0), "ddim"),
    ("ddim:50", ("ddim", 50, 0), "ddim_50"),
    ("ddim:50:0", ("ddim", 50, 0), "ddim_50"),
    ("ddim:50:0.5", ("ddim", 50, 0.5), "ddim_50_0.5"),
    ("ddim:1:1", ("ddim", 1, 1), "ddim_1_1.0"),
  ],
)
def test_a_sampler_has_a_name(text, spec, name):
  assert SamplerSpec.parse(text) == (*spec, 0)
  assert str(SamplerSpec.parse(text)) == name


@pytest.mark.parametrize(
  "text",
  [
    "",
    "ddpm",
    "DDIM:50",
    "ancestral:",
    "ancestral:0",
    "ancestral:-5",
    "ancestral:x",
    "ancestral:2.5",
    "ancestral:50:0",
    "ddim:50:",
    "ddim:50:-0.1",
    "ddim:50:1.1",
    "ddim:50:nan",
    "ddim:50:0:0",
    "ddim::0.5",
    ":50",
  ],
)
def test_other_names_are_refused(text):
  with pytest.raises(ValueError, match="^--samplers: expected ancestral.*, received ") as caught:
    SamplerSpec.parse(text)
  assert str(caught.value).endswith(repr(text)) and "\n" not in str(caught.value)


def test_samplers_respace_by_their_own_rule():
  process = process_of(100)
  assert SamplerSpec.parse("ddim").respace(process).num_timesteps == 100
  np.testing.assert_array_equal(
    SamplerSpec.parse("ancestral:4").respace(process).timestep_map, [0, 33, 66, 99]
  )
  np.testing.assert_array_equal(
    SamplerSpec.parse("ddim:4").respace(process).timestep_map, [0, 25, 50, 75]
  )
  with pytest.raises(
    ValueError, match="^--samplers: expected at most 100 steps.*received ddim:101$"
  ):
    SamplerSpec.parse("ddim:101").respace(process)


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
def test_ancestral_sampling_reproduces_the_data(variance, steps, kept):
  """With the variance learned exactly in any number of steps; with a fixed one in many."""
  spec = SamplerSpec("ancestral", kept, 0.0)
  process = spec.respace(process_of(steps))
  config = DiffusionConfig(objective="vlb", variance_type=variance)
  draw = tf.function(
    lambda: samplers.draw(
      exact_network(process, config), process, config, spec, noise_of((200, 8, 8, 1)), FREE
    )
  )
  image = draw().image
  # 12,800 pixels: the deviations of these are 0.0035 and 0.0025.
  assert abs(np.mean(image) - MEAN) < 0.015
  assert abs(np.std(image) - DEVIATION) < 0.012


def test_a_short_process_with_the_small_variance_draws_too_narrowly():
  """What learning the variance is for (section 3.1)."""
  deviations = {}
  for variance in ("fixed_small", "learned_range"):
    spec = SamplerSpec("ancestral", 6, 0.0)
    process = spec.respace(process_of(1000))
    config = DiffusionConfig(objective="vlb", variance_type=variance)
    deviations[variance] = np.std(
      samplers.draw(
        exact_network(process, config), process, config, spec, noise_of((200, 8, 8, 1)), FREE
      ).image
    )
  assert deviations["fixed_small"] < 0.9 * deviations["learned_range"]
  assert abs(deviations["learned_range"] - DEVIATION) < 0.02


def test_ddim_solves_its_ode():
  """Pixel for pixel: for Gaussian data it maps x_T to MEAN + DEVIATION * x_T."""
  spec, process, config = SamplerSpec.parse("ddim"), process_of(1000), DiffusionConfig(**FIXED)
  noise_fn = noise_of((2, 8, 8, 1))
  image = tf.function(
    lambda: samplers.draw(exact_network(process, config), process, config, spec, noise_fn, FREE)
  )().image
  np.testing.assert_allclose(image, MEAN + DEVIATION * noise_fn(0), atol=0.02)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_ddim_draws_again_what_its_reverse_encoded(schedule):
  process, config = process_of(500, schedule), DiffusionConfig(**FIXED)
  network = exact_network(process, config)
  image = MEAN + DEVIATION * noise_of((2, 8, 8, 1), seed=5)(0)

  @tf.function
  def there_and_back():
    latents = samplers.encode(network, process, config, image, FREE).image
    return latents, samplers.draw(
      network, process, config, SamplerSpec.parse("ddim"), lambda k: latents, FREE
    ).image

  latents, drawn = there_and_back()
  np.testing.assert_allclose(drawn, image, atol=0.03)
  np.testing.assert_allclose(latents, (image - MEAN) / DEVIATION, atol=0.06)


def test_ddim_with_all_noise_is_ancestral_sampling_with_the_small_variance():
  ancestral, ddim = draw_toy("ancestral").image, draw_toy("ddim:20:1").image
  np.testing.assert_allclose(ddim, ancestral, atol=1e-3)


def test_ddim_without_noise_depends_on_its_start_alone():
  def start_only(k):
    return noise_of((2, 4, 4, 1))(0) if k == 0 else tf.fill([2, 4, 4, 1], np.nan)

  np.testing.assert_array_equal(
    draw_toy("ddim:10", noise_fn=start_only).image, draw_toy("ddim:10").image
  )


@pytest.mark.parametrize("text", ["ancestral:5", "ddim:5:1", "ancestral:1"])
def test_the_last_step_adds_no_noise_and_the_others_do(text):
  steps = SamplerSpec.parse(text).steps
  normal = noise_of((2, 4, 4, 1))

  def louder(at):
    return lambda k: normal(k) + (1000.0 if k == at else 0.0)

  image = draw_toy(text).image
  np.testing.assert_array_equal(draw_toy(text, noise_fn=louder(steps)).image, image)
  if steps > 1:
    free = draw_toy(text, options=FREE).image
    assert np.all(draw_toy(text, noise_fn=louder(steps - 1), options=FREE).image != free)


def test_the_network_sees_the_original_timesteps_from_the_last_to_the_first():
  seen = []

  def denoise_fn(x_t, t):
    seen.append(t.numpy().tolist())
    return toy_network(x_t, t)

  spec = SamplerSpec.parse("ancestral:4")
  process = spec.respace(process_of(100))
  config = DiffusionConfig(**FIXED)
  samplers.draw(denoise_fn, process, config, spec, noise_of((2, 4, 4, 1)))
  assert seen == [[99, 99], [66, 66], [33, 33], [0, 0]]
  seen.clear()
  samplers.encode(denoise_fn, process, config, tf.zeros([1, 4, 4, 1]))
  assert seen == [[0], [33], [66], [99]]


@pytest.mark.parametrize("text", ["ancestral", "ancestral:7", "ddim:10", "ddim:10:0.5", "ddim:1"])
def test_the_trajectory_goes_from_the_start_to_the_image(text):
  samples = draw_toy(text, options=Options(trajectory=True))
  steps = SamplerSpec.parse(text).steps or 20
  assert samples.trajectory.shape == (steps + 1, 2, 4, 4, 1)
  np.testing.assert_array_equal(samples.trajectory[0], noise_of((2, 4, 4, 1))(0))
  np.testing.assert_array_equal(samples.trajectory[-1], samples.image)
  plain = draw_toy(text)
  assert plain.trajectory is None
  np.testing.assert_array_equal(plain.image, samples.image)


@pytest.mark.parametrize("text", ["ancestral:6", "ddim:10:0.5"])
def test_a_graph_draws_what_eager_execution_draws(text):
  for options in (Options(), Options(clip=False, trajectory=True)):
    eager = draw_toy(text, options=options)
    graph = tf.function(lambda: draw_toy(text, options=options))()
    np.testing.assert_allclose(graph.image, eager.image, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wrap", [lambda function: function, tf.function])
def test_progress_reports_every_step_in_order(wrap):
  done = []
  options = Options(progress=samplers.python_progress(done.append))
  image = wrap(lambda: draw_toy("ancestral:6", options=options).image)()
  assert done == [1, 2, 3, 4, 5, 6] and all(type(number) is int for number in done)
  np.testing.assert_allclose(image, draw_toy("ancestral:6").image, rtol=1e-5, atol=1e-5)


def test_clipping_keeps_images_in_range():
  loud = noise_of((2, 4, 4, 1))
  image = draw_toy("ancestral:6", noise_fn=lambda k: 5 * loud(k)).image
  assert np.max(np.abs(image)) <= 1
  free = draw_toy("ancestral:6", noise_fn=lambda k: 5 * loud(k), options=FREE).image
  assert np.max(np.abs(free)) > 1


@pytest.mark.parametrize("text", ["ancestral:5", "ddim:5:0.7", "ddim:5"])
def test_an_image_is_its_seed_s_alone(text):
  def images(*seeds):
    noise_fn = samplers.seeded_noise(tf.constant(seeds, tf.int64), (4, 4, 1))
    return draw_toy(text, noise_fn=noise_fn).image.numpy()

  batch = images(3, 2**40, 5, 3)
  np.testing.assert_allclose(images(5)[0], batch[2], atol=1e-6)  # Alone.
  np.testing.assert_allclose(images(5, 7)[0], batch[2], atol=1e-6)  # At another position.
  np.testing.assert_array_equal(batch[0], batch[3])
  for other in (1, 2):
    assert np.abs(batch[0] - batch[other]).max() > 0.01


def test_seeded_noise_is_standard_normal_and_new_in_each_step():
  noise_fn = samplers.seeded_noise(tf.range(60, dtype=tf.int64), (8, 8, 4))
  first, second = noise_fn(tf.constant(0)).numpy(), noise_fn(tf.constant(1)).numpy()
  assert first.shape == (60, 8, 8, 4) and first.dtype == np.float32
  for noise in (first, second):
    assert abs(noise.mean()) < 0.03 and abs(noise.std() - 1) < 0.03
  assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.03
  # Nor is one seed's second step another seed's first.
  assert abs(np.corrcoef(first[1:].ravel(), second[:-1].ravel())[0, 1]) < 0.03
  assert len(np.unique(first)) > 0.99 * first.size


@pytest.mark.parametrize("mean", ["eps", "x_start", "x_prev"])
@pytest.mark.parametrize("name", ["ancestral", "ddim"])
def test_one_step_draws_a_finite_image(name, mean):
  config = DiffusionConfig(mean_type=mean, **FIXED)
  for process in (process_lib.GaussianProcess([0.5]), process_of(4000).respaced([3999])):
    samples = samplers.draw(
      toy_network, process, config, SamplerSpec.parse(name), noise_of((2, 4, 4, 1))
    )
    assert np.all(np.isfinite(samples.image))


@pytest.mark.parametrize(
  "text, left",
  [
    ("ancestral:4:skip0.5", [0, 33]),
    ("ddim:4:0:skip0.25", [0, 25, 50]),
    ("ancestral:4:skip0.9", [0]),
    ("ancestral:skip0.95", [0, 1, 2, 3, 4]),
  ],
)
def test_a_prefix_of_the_reverse_process_is_skipped(text, left):
  spec, process = SamplerSpec.parse(text), process_of(100)
  kept = spec.respace(process)
  np.testing.assert_array_equal(kept.timestep_map, left)
  assert spec.num_steps(100) == len(left)
  # What is left is as it was: only where it begins is another place.
  whole = spec._replace(skipped=0.0).respace(process)
  np.testing.assert_array_equal(kept.betas, whole.betas[: len(left)])
  assert str(spec) == f"{whole_name(spec)}_skip{spec.skipped}"


def whole_name(spec):
  return str(spec._replace(skipped=0.0))


@pytest.mark.parametrize(
  "text", ["ancestral:4:skip1", "ddim:4:skip-0.1", "ancestral:skip", "ancestral:4:skip0.1:5"]
)
def test_what_cannot_be_skipped_is_refused(text):
  with pytest.raises(ValueError, match="skipSHARE"):
    SamplerSpec.parse(text)
