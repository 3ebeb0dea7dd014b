"""A trained model in Python: images, likelihoods, latents, predictions, and wrong arguments."""

import numpy as np
import pytest
import tensorflow as tf

import iddpm_tf as iddpm
from iddpm_tf import registries
from iddpm_tf.diffusion.samplers import ddim
from tests import small_model

PIXELS = np.random.default_rng(0).integers(0, 256, [6, 8, 8, 1], np.uint8)
LABELS = np.array([3, 1, 4, 1, 5, 9])


@pytest.fixture(name="upsampler", scope="module")
def fixture_upsampler(tmp_path_factory):
  """A model without classes that enlarges images of 4x4."""
  folder = tmp_path_factory.mktemp("runs") / "upsampler"
  config = small_model.make_config(low_res_size=4, class_conditional=False, samplers=("ddim:2",))
  return iddpm.load(small_model.write(folder, config), progress=False)


def test_the_properties_of_a_model(model, model_dir):
  assert model.config == iddpm.Config.from_json((model_dir / "config.json").read_text())
  assert (model.step, model.ema) == (small_model.STEP, 0.9)
  assert (model.image_shape, model.num_classes) == ((8, 8, 1), 10)
  assert model.network.count_params() > 1e5
  assert repr(model) == f"Model({model_dir}, step 10, EMA 0.9)"


def test_images_are_drawn_by_text_or_sampler(model):
  images = model.sample(4, sampler="ddim:5", labels=[3], seed=0, progress=False)
  assert images.shape == (4, 8, 8, 1) and images.dtype == np.uint8
  assert len(np.unique(images.reshape(4, -1), axis=0)) == 4
  again = model.sample(4, sampler=ddim.DDIM(5), labels=[3], progress=False)
  np.testing.assert_array_equal(again, images)
  other = model.sample(4, sampler="ddim:5", labels=[4], progress=False)
  assert np.any(other != images)


def test_the_default_sampler_is_the_first_of_the_configuration(model):
  images = model.sample(2, progress=False)
  np.testing.assert_array_equal(images, model.sample(2, sampler="ancestral:5", progress=False))
  assert model.sample(progress=False).shape == (1, 8, 8, 1)
  assert [str(sampler) for sampler in model.parse_samplers()] == ["ancestral_5", "ddim_5"]


def test_image_i_has_seed_plus_i_and_a_label_in_turn(model):
  def draw(count, **options):
    return model.sample(count, sampler="ddim:5", progress=False, **options).astype(int)

  many = draw(12, seed=7)
  few = draw(None, seed=[9, 8], labels=[2, 1])  # The third and the second of the images.
  assert few.shape == (2, 8, 8, 1)
  # Kernels round differently for different numbers of images.
  assert np.abs(few[0] - many[2]).max() <= 1 and np.abs(few[1] - many[1]).max() <= 1
  assert np.abs(draw(12, seed=7, batch_size=5) - many).max() <= 1


def test_progress_is_shown_or_not(model, capfd, recorder):
  model.sample(4, sampler="ddim:5", progress=False)
  assert capfd.readouterr() == ("", "")
  model.sample(4, sampler="ddim:5")
  out, err = capfd.readouterr()
  assert out == "" and "ddim_5" in err and "5/5" in err
  model.sample(4, sampler="ddim:5", batch_size=2, progress=recorder)
  assert recorder.done == recorder.total == 10


def test_a_trajectory_ends_with_the_image(model):
  frames = model.trajectory(2, frames=4, sampler="ddim:5", seed=3, progress=False)
  assert frames.shape == (2, 4, 8, 8, 1) and frames.dtype == np.uint8
  images = model.sample(2, sampler="ddim:5", seed=3, progress=False)
  assert np.abs(frames[:, -1].astype(int) - images).max() <= 1
  assert np.std(frames[:, 0]) > 50  # Noise.


def test_a_trajectory_of_the_predicted_images_ends_with_the_image(model):
  options = {"sampler": "ddim:5", "seed": 3, "progress": False}
  predicted = model.trajectory(2, frames=3, of="x_start", **options)
  assert predicted.shape == (2, 3, 8, 8, 1) and predicted.dtype == np.uint8
  assert np.abs(predicted[:, -1].astype(int) - model.sample(2, **options)).max() <= 1
  assert np.any(predicted[:, 0] != model.trajectory(2, frames=4, **options)[:, 0])


def test_a_super_resolution_model_enlarges_images(upsampler):
  small = PIXELS[:, :4, :4]
  images = upsampler.sample(low_res=small, progress=False)
  assert images.shape == (6, 8, 8, 1)
  assert np.any(upsampler.sample(low_res=small[::-1], progress=False) != images)
  assert upsampler.predict(PIXELS / 127.5 - 1, 3, low_res=small).shape == (6, 8, 8, 2)
  assert upsampler.nll(PIXELS[:2], steps=2, progress=False).bits_per_dim.shape == (2,)


def test_the_likelihood_of_each_image(model):
  bits = model.nll(PIXELS, LABELS, progress=False)
  assert bits.bits_per_dim.shape == bits.prior.shape == (6,) and bits.terms.shape == (6, 25)
  np.testing.assert_array_equal(bits.timesteps, np.arange(25))
  total = bits.prior + bits.terms.sum(axis=1)
  np.testing.assert_allclose(bits.bits_per_dim, total, rtol=1e-5)
  assert bits.mean == pytest.approx(np.mean(bits.bits_per_dim))
  error = np.std(bits.bits_per_dim, ddof=1) / np.sqrt(6)
  assert bits.standard_error == pytest.approx(error, rel=1e-5)
  # The noise of an image does not depend on the images after it.
  first = model.nll(PIXELS[:2], list(LABELS[:2]), progress=False)
  np.testing.assert_allclose(first.bits_per_dim, bits.bits_per_dim[:2], rtol=1e-4)
  assert model.nll(PIXELS[:1], LABELS[:1], progress=False).standard_error is None
  other = model.nll(PIXELS, LABELS, seed=1, progress=False)
  assert np.all(other.bits_per_dim != bits.bits_per_dim)


def test_the_likelihood_with_fewer_timesteps(model):
  bits = model.nll(PIXELS, LABELS, steps=5, progress=False)
  np.testing.assert_array_equal(bits.timesteps, [0, 1, 2, 3, 4, 6, 12, 18, 24])
  assert bits.terms.shape == (6, 9)


def test_the_estimate_of_the_likelihood(model, recorder):
  images, labels = np.tile(PIXELS, [5, 1, 1, 1]), np.tile(LABELS, 5)
  exact = model.nll(images, labels, progress=False).mean
  target = 0.05 * exact
  estimate = model.estimate_nll(images, labels, standard_error=target, progress=recorder)
  assert estimate.standard_error <= target
  # Five standard errors, and the noise of `exact` itself.
  assert abs(estimate.mean - exact) < 5 * target
  assert estimate.network_evaluations > 0 and recorder.done > 0
  again = model.estimate_nll(images, labels, standard_error=target, progress=False)
  assert again == estimate


def test_the_prediction_of_the_network(model):
  x_t = np.random.default_rng(0).standard_normal([3, 8, 8, 1])
  output = model.predict(x_t, 7, [0, 1, 2])
  assert output.shape == (3, 8, 8, 2) and output.dtype == np.float32
  np.testing.assert_array_equal(model.predict(x_t, [7, 7, 7], [0, 1, 2]), output)
  network_t = np.float32([7 * 1000 / 25] * 3)
  expected = model.network(tf.constant(x_t, tf.float32), network_t, tf.constant([0, 1, 2]))
  np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5)
  other = model.predict(x_t, [7, 8, 7], [0, 1, 2])
  assert np.any(other[1] != output[1]) and np.allclose(other[0], output[0], atol=1e-5)


def noise(*shape):
  return np.zeros(shape, np.float32)


# A method of the model with wrong arguments, and the message.
WRONG = {
  "floats for images": (
    lambda model: model.nll(PIXELS / 255, LABELS),
    "images: expected uint8 [N, 8, 8, 1], received float64 [6, 8, 8, 1]; values in [0, 1] become "
    "uint8 by np.uint8(np.round(images * 255))",
  ),
  "integers that are no bytes": (
    lambda model: model.nll(PIXELS.astype(np.int64), LABELS),
    "images: expected uint8 [N, 8, 8, 1], received int64 [6, 8, 8, 1]",
  ),
  "another size": (
    lambda model: model.encode(PIXELS[:, :4], LABELS),
    "images: expected uint8 [N, 8, 8, 1], received uint8 [6, 4, 8, 1]",
  ),
  "no axis of channels": (
    lambda model: model.nll(PIXELS[..., 0], LABELS),
    "images: expected uint8 [N, 8, 8, 1], received uint8 [6, 8, 8]; images[..., None] are grey "
    "images [N, H, W], and images[None] is a single image",
  ),
  "missing labels": (
    lambda model: model.nll(PIXELS),
    "labels: expected integers from 0 to 9, one per image [6], received none",
  ),
  "too few labels": (
    lambda model: model.estimate_nll(PIXELS, [1, 2], standard_error=1),
    "labels: expected integers from 0 to 9, one per image [6], received int64 [2]",
  ),
  "labels of another type": (
    lambda model: model.encode(PIXELS, LABELS / 2),
    "labels: expected integers from 0 to 9, one per image [6], received float64 [6]",
  ),
  "a label out of range": (
    lambda model: model.nll(PIXELS, LABELS + 1),
    "labels: expected classes from 0 to 9, received 10",
  ),
  "a class to draw out of range": (
    lambda model: model.sample(2, labels=[10]),
    "labels: expected classes from 0 to 9, received [10]",
  ),
  "no images to draw": (
    lambda model: model.sample(0),
    "count: expected a positive whole number, received 0",
  ),
  "a negative seed": (
    lambda model: model.sample(1, seed=-1),
    "seed: expected seeds from 0 to 2**63 - 1, received -1",
  ),
  "a seed of the noise out of range": (
    lambda model: model.nll(PIXELS, LABELS, seed=-1),
    "seed: expected a number from 0 to 2147483647, received -1",
  ),
  "an unknown sampler": (
    lambda model: model.sample(1, sampler="dpm:5"),
    "sampler: expected NAME[:STEPS[:NUMBER...]][:SPACING][:skipSHARE] with NAME one of "
    f"{', '.join(registries.SAMPLERS.names())}, STEPS above 0 or all, SPACING "
    "uniform, stride, quadratic, sectionsA-B-C, logsnr, rho or rhoNUMBER and SHARE in "
    "[0, 1), received 'dpm:5'",
  ),
  "more steps than the model has": (
    lambda model: model.sample(1, sampler="ddim:50"),
    "sampler: expected at most 25 steps, which the model has, received ddim:50",
  ),
  "a sampler of another type": (
    lambda model: model.sample(1, sampler=50),
    "sampler: expected a text such as 'ddim:50', or a Sampler, received 50",
  ),
  "images to enlarge": (
    lambda model: model.sample(1, low_res=PIXELS[:1]),
    "low_res: expected none, because the model draws from noise alone, received images",
  ),
  "no batch": (
    lambda model: model.sample(1, batch_size=0),
    "batch_size: expected a whole number of at least 1, received 0",
  ),
  "one frame": (
    lambda model: model.trajectory(1, frames=1),
    "frames: expected a whole number of at least 2, received 1",
  ),
  "frames of something else": (
    lambda model: model.trajectory(1, of="noise"),
    "of: expected x_t or x_start, received 'noise'",
  ),
  "more terms than the model has": (
    lambda model: model.nll(PIXELS, LABELS, steps=26),
    "steps: expected at most the model's 25 timesteps, received 26",
  ),
  "a fraction of a term": (
    lambda model: model.nll(PIXELS, LABELS, steps=2.5),
    "steps: expected a whole number of at least 0, received 2.5",
  ),
  "an unknown schedule": (
    lambda model: model.nll(PIXELS, LABELS, steps=5, schedule="all"),
    "schedule: expected one of dense_start, strided, received 'all'",
  ),
  "more steps of DDIM than the model has": (
    lambda model: model.encode(PIXELS, LABELS, steps=50),
    "steps: expected at most 25 steps, which the model has, received ddim:50",
  ),
  "no steps of DDIM": (
    lambda model: model.decode(noise(2, 8, 8, 1), [0, 1], steps=0),
    "steps: expected a step or more, received 0",
  ),
  "images for latents": (
    lambda model: model.decode(PIXELS, LABELS),
    "latents: expected floats [N, 8, 8, 1], received uint8 [6, 8, 8, 1]",
  ),
  "noise of another size": (
    lambda model: model.predict(noise(2, 4, 4, 1), 0, [0, 1]),
    "x_t: expected floats [N, 8, 8, 1], received float32 [2, 4, 4, 1]",
  ),
  "a timestep out of range": (
    lambda model: model.predict(noise(2, 8, 8, 1), 25, [0, 1]),
    "t: expected one timestep, or 2, from 0 to 24, received 25",
  ),
  "a timestep that is not whole": (
    lambda model: model.predict(noise(2, 8, 8, 1), 0.5, [0, 1]),
    "t: expected one timestep, or 2, from 0 to 24, received 0.5",
  ),
  "timesteps of no shape": (
    lambda model: model.predict(noise(2, 8, 8, 1), [[0], [0, 1]], [0, 1]),
    "t: expected one timestep, or 2, from 0 to 24, received [[0], [0, 1]]",
  ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_refused(model, name):
  call, message = WRONG[name]
  with pytest.raises(iddpm.InputError) as caught:
    call(model)
  assert str(caught.value) == message
  assert isinstance(caught.value, ValueError)


def test_an_impossible_standard_error_is_refused(model):
  with pytest.raises(iddpm.InputError, match=r"^standard_error: expected a number of at least"):
    model.estimate_nll(PIXELS, LABELS, standard_error=0.0)


@pytest.mark.parametrize(
  "options, message",
  [
    (
      {"count": 2},
      "low_res: expected images of 4x4x1, because this model enlarges them, received none",
    ),
    (
      {"low_res": PIXELS},
      "low_res: expected uint8 [N, 4, 4, 1], received uint8 [6, 8, 8, 1]",
    ),
    ({"low_res": PIXELS[:, :4, :4], "count": 2}, "low_res: expected 2 images, received 6"),
    (
      {"low_res": PIXELS[:, :4, :4], "labels": [1]},
      "labels: expected none, because the model has no classes, received [1]",
    ),
  ],
)
def test_wrong_arguments_of_a_super_resolution_model_are_refused(upsampler, options, message):
  with pytest.raises(iddpm.InputError) as caught:
    upsampler.sample(**options)
  assert str(caught.value) == message
