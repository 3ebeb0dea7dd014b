"""Editing pictures with a trained model in Python."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.diffusion.samplers import ddim
from iddpm_tf.diffusion.samplers import known_pixels

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
LABELS = [1, 2, 3]
MASK = np.zeros([8, 8], bool)
MASK[4:] = True


def edit(model, images=PICTURES, **options):
  options = {"sampler": "ddim:5", "labels": LABELS, "progress": False} | options
  return model.edit(images, **options)


def test_pixels_outside_of_the_mask_keep_their_values(model):
  drawn = edit(model, masks=MASK)
  assert drawn.shape == PICTURES.shape and drawn.dtype == np.uint8
  np.testing.assert_array_equal(drawn[:, :4], PICTURES[:, :4])
  assert np.mean(drawn[:, 4:] != PICTURES[:, 4:]) > 0.9
  np.testing.assert_array_equal(edit(model, masks=MASK), drawn)
  other = edit(model, masks=MASK, seed=10)
  assert np.any(other[:, 4:] != drawn[:, 4:])


def test_the_images_of_one_seed_are_the_same_alone(model):
  options = {"strength": [0.4, 0.8, 1.0], "masks": MASK}
  together = edit(model, **options)
  alone = edit(model, PICTURES[1:2], masks=MASK, strength=0.8, labels=[2], seed=[1])
  # Kernels round differently for different numbers of images.
  assert np.abs(alone[0].astype(int) - together[1]).max() <= 1


def test_everything_drawn_from_noise_is_a_sample(model):
  everything = np.ones([8, 8], bool)
  np.testing.assert_array_equal(
    edit(model, masks=everything),
    model.sample(3, sampler="ddim:5", labels=LABELS, progress=False),
  )


def test_variations_of_one_picture(model, recorder):
  drawn = edit(model, PICTURES[0], strength=0.4, count=4, labels=[1], progress=recorder)
  assert drawn.shape == (4, 8, 8, 1)
  assert len(np.unique(drawn.reshape(4, -1), axis=0)) == 4
  assert recorder.done == recorder.total == 2  # Two of five steps.


def test_resampling_is_for_samplers_that_can_go_back(model):
  resampling = known_pixels.Resampling(times=2, length=2)
  drawn = edit(model, masks=MASK, resampling=resampling)
  np.testing.assert_array_equal(drawn[:, :4], PICTURES[:, :4])
  assert np.any(drawn != edit(model, masks=MASK))
  with pytest.raises(settings.InputError, match=r"^resample_length: expected fewer than the 5"):
    edit(model, masks=MASK, resampling=known_pixels.Resampling(times=2, length=5))
  message = "^resample_times: expected 1 for dpmpp_2m:5, which cannot go back"
  with pytest.raises(settings.InputError, match=message):
    edit(model, masks=MASK, resampling=resampling, sampler="dpmpp_2m:5")


def test_the_images_between_two_pictures(model):
  options = {"labels": [1, 2], "steps": 5, "progress": False}
  drawn = model.interpolate(PICTURES[:2], PICTURES[1:], count=3, **options)
  assert drawn.shape == (2, 3, 8, 8, 1) and drawn.dtype == np.uint8
  latents = model.encode(PICTURES[:2], [1, 2], steps=5, progress=False)
  ends = model.decode(latents, [1, 2], steps=5, progress=False)
  assert np.abs(drawn[:, 0].astype(int) - ends).max() <= 1
  assert np.any(drawn[:, 1] != drawn[:, 0])
  # Exports draw them by one graph.
  graph = model.trained.make_image_sampler(ddim.DDIM(5))
  pairs = (np.repeat(pictures, 3, axis=0) for pictures in (PICTURES[:2], PICTURES[1:]))
  weights, labels = np.tile(np.float32([0, 0.5, 1]), 2), np.repeat(np.int32([1, 2]), 3)
  exported = graph.interpolate(*map(tf.constant, (*pairs, weights, labels))).numpy()
  assert np.abs(exported.reshape(drawn.shape).astype(int) - drawn).max() <= 1


@pytest.mark.parametrize(
  "values, message",
  [
    ({"second": PICTURES[:1]}, "second: expected 3 images, as many as first, received 1"),
    ({"second": PICTURES, "count": 1}, "count: expected"),
    ({"second": PICTURES[:, :4]}, "second: expected"),
    ({"second": PICTURES, "labels": None}, "labels: expected"),
  ],
)
def test_wrong_arguments_of_interpolate_are_refused(model, values, message):
  values = {"labels": LABELS, "progress": False} | values
  with pytest.raises(settings.InputError, match=f"^{message}"):
    model.interpolate(PICTURES, **values)


def test_a_scale_for_a_model_without_guidance_is_refused(model):
  for name in ("guidance_scale", "classifier_scale"):
    message = f"^{name}: expected none, because the model was .* without"
    with pytest.raises(settings.InputError, match=message):
      model.sample(1, sampler="ddim:5", **{name: 2.0})
