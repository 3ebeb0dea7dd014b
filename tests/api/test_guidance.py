"""Guided sampling in Python: without a classifier, and by one."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

import iddpm_tf as iddpm
from iddpm_tf import settings
from iddpm_tf.diffusion.samplers import ddim
from tests import small_model


@pytest.fixture(name="guided_dir", scope="module")
def fixture_guided_dir(tmp_path_factory):
  """A model that was trained with hidden labels; its weights are random."""
  folder = tmp_path_factory.mktemp("runs") / "guided"
  return small_model.write(folder, small_model.make_config(label_dropout=0.1))


@pytest.fixture(name="guided", scope="module")
def fixture_guided(guided_dir):
  return iddpm.load(guided_dir, progress=False)


def sample(model, **options):
  labels = options.pop("labels", [4])
  return model.sample(3, sampler="ddim:5", labels=labels, progress=False, **options).astype(int)


def test_a_scale_of_1_draws_as_the_model_without_guidance(guided, model):
  """The two models have the same weights."""
  unguided = sample(guided)  # The configuration's scale.
  # Twice as many images are rounded differently.
  assert np.abs(unguided - sample(model)).max() <= 1
  np.testing.assert_array_equal(sample(guided, guidance_scale=1.0), unguided)


def test_the_scale_moves_images_towards_their_class(guided):
  by_scale = [sample(guided, guidance_scale=scale) for scale in (0.0, 1.0, 3.0)]
  assert all(np.any(a != b) for a, b in itertools.pairwise(by_scale))
  # Without the class, the label has no effect.
  other = sample(guided, guidance_scale=0.0, labels=[7])
  assert np.abs(other - by_scale[0]).max() <= 1
  # Each image has its own scale.
  mixed = sample(guided, guidance_scale=[0.0, 1.0, 3.0])
  for i in range(3):
    np.testing.assert_array_equal(mixed[i], by_scale[i][i])


@pytest.mark.parametrize("scale", [np.nan, [1.0, 2.0], "strong"])
def test_a_wrong_scale_is_refused(guided, scale):
  message = "^guidance_scale: expected a finite number, or 3 of them, received"
  with pytest.raises(settings.InputError, match=message):
    sample(guided, guidance_scale=scale)


class BrightClasses:
  """A classifier for which class k has the mean brightness k / 5 - 1. It sees little in noise."""

  num_classes, variables = 10, ()

  def log_prob(self, x_t, t, label):
    centre = tf.cast(label, tf.float32) / 5.0 - 1.0
    sharpness = 50.0 * tf.square(1.0 - t / 1000.0)
    return -sharpness * tf.square(tf.reduce_mean(x_t, axis=[1, 2, 3]) - centre)


@pytest.fixture(name="both", scope="module")
def fixture_both(guided_dir):
  """The model with both kinds of guidance."""
  return iddpm.load(guided_dir, classifier=BrightClasses(), progress=False)


def test_any_object_with_log_prob_guides_a_model(both, guided):
  drawn = {label: np.mean(sample(both, labels=[label], classifier_scale=2.0)) for label in (0, 9)}
  assert drawn[0] + 20 < drawn[9]
  np.testing.assert_array_equal(sample(both, classifier_scale=0.0), sample(guided))


def test_a_classifier_guides_a_model_without_classes(tmp_path):
  """The model then takes the labels of the classifier."""
  config = small_model.make_config(class_conditional=False)
  folder = small_model.write(tmp_path / "unconditional", config)
  model = iddpm.load(folder, classifier=BrightClasses(), progress=False)
  drawn = {label: np.mean(sample(model, labels=[label], classifier_scale=2.0)) for label in (0, 9)}
  assert drawn[0] + 20 < drawn[9]
  # Latents have no guidance, and need no labels here.
  latents = np.zeros([2, 8, 8, 1], np.float32)
  assert model.decode(latents, steps=5, progress=False).shape == (2, 8, 8, 1)
  config = iddpm.ServableConfig(png=False, warmup=())
  options = {"samplers": "ddim:5", "config": config, "verify": True, "progress": False}
  exported = iddpm.load(model.export(tmp_path / "guided", **options))
  np.testing.assert_array_equal(
    sample(exported, labels=[9], classifier_scale=2.0),
    sample(model, labels=[9], classifier_scale=2.0),
  )


def test_a_classifier_of_other_classes_is_refused(model_dir):
  few = BrightClasses()
  few.num_classes = 3
  message = "^classifier: expected a classifier of the same num_classes as the model"
  with pytest.raises(settings.InputError, match=message):
    iddpm.load(model_dir, classifier=few, progress=False)


def test_what_is_no_classifier_is_refused(model_dir):
  message = "^classifier: expected a folder, or an object with num_classes, variables and log_prob"
  with pytest.raises(settings.InputError, match=message):
    iddpm.load(model_dir, classifier=3, progress=False)


def test_latents_are_decoded_without_guidance(guided, monkeypatch):
  seen = []

  def from_latents(latents, inputs, **options):
    del options
    seen.append(inputs)
    return latents

  batched = guided._batched(ddim.DDIM(5))
  monkeypatch.setattr(batched, "from_latents", from_latents)
  guided.decode(np.zeros([2, 8, 8, 1], np.float32), [1, 2], steps=5, progress=False)
  np.testing.assert_array_equal(seen[0]["guidance_scale"], [1.0, 1.0])


def test_an_interval_of_noise_levels(guided, guided_dir):
  nowhere = iddpm.load(guided_dir, changes={"guidance_interval": (900.0, 901.0)}, progress=False)
  strong = sample(nowhere, guidance_scale=3.0)
  assert np.abs(strong - sample(guided, guidance_scale=1.0)).max() <= 1


def test_an_export_takes_scales_and_pictures(both, tmp_path):
  config = iddpm.ServableConfig(png=False, warmup=(), edit=True)
  # DDIM with noise has no latents, and so no signature for the images between two pictures.
  options = {"samplers": "ddim:5:0.5", "config": config, "progress": False}
  exported = iddpm.load(both.export(tmp_path / "guided", **options))
  assert exported.samplers == ("ddim_5_0.5",)
  for scales in (
    {"guidance_scale": [0.0, 1.0, 3.0], "classifier_scale": [2.0, 0.0, 1.0]},
    {},
  ):
    options = {"sampler": "ddim:5:0.5", "labels": [9], "progress": False, **scales}
    np.testing.assert_array_equal(exported.sample(3, **options), both.sample(3, **options))
  pictures = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
  options = {
    "masks": np.tri(8, dtype=bool),
    "strength": [1.0, 0.6, 0.2],
    "guidance_scale": 2.0,
    "classifier_scale": 3.0,
    "labels": [4],
    "sampler": "ddim:5:0.5",
    "progress": False,
  }
  np.testing.assert_array_equal(exported.edit(pictures, **options), both.edit(pictures, **options))
