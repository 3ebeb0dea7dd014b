"""Masks, strengths and ways between latents, as people give them."""

import re

import numpy as np
import pytest

from iddpm_tf import settings
from iddpm_tf.diffusion.samplers import known_pixels
from iddpm_tf.models import editing

SHAPE = (8, 8, 1)
IMAGES = np.arange(192, dtype=np.uint8).reshape(3, *SHAPE)
MASK = np.zeros([8, 8], bool)
MASK[4:] = True


@pytest.mark.parametrize(
  "masks",
  [
    MASK,
    MASK[..., None],
    np.stack([MASK] * 3),
    np.uint8(200) * MASK,
    np.stack([MASK] * 3)[..., None] * np.uint8(255),
  ],
)
def test_masks_of_all_forms(masks):
  edits = editing.make_edits(IMAGES, SHAPE, masks=masks)
  assert edits.mask.dtype == np.uint8 and edits.mask.shape == (3, 8, 8, 1)
  np.testing.assert_array_equal(edits.mask[2, ..., 0], 255 * MASK)
  np.testing.assert_array_equal(edits.strength, np.ones(3, np.float32))


def test_one_picture_is_repeated():
  edits = editing.make_edits(IMAGES[0], SHAPE, strength=0.5, count=5)
  assert edits.image.shape == (5, *SHAPE) and np.all(edits.image == IMAGES[0])
  assert np.all(edits.mask == 255) and edits.strength.shape == (5,)


@pytest.mark.parametrize(
  "values, message",
  [
    ({}, "masks: expected masks of the pixels to draw, or a strength below 1, received neither"),
    ({"strength": 0.0}, "strength: expected a share in (0, 1], or 3 of them, received 0.0"),
    ({"strength": 1.5}, "strength: expected a share in (0, 1]"),
    ({"strength": [0.5, 0.5]}, "strength: expected a share in (0, 1], or 3 of them"),
    ({"strength": "much"}, "strength: expected a share"),
    ({"strength": np.nan}, "strength: expected a share"),
    (
      {"masks": MASK[:4]},
      "masks: expected bool or uint8 [3, 8, 8], or one mask, received",
    ),
    ({"masks": MASK.astype(float)}, "masks: expected bool or uint8 [3, 8, 8], or one mask"),
    ({"masks": np.stack([MASK] * 2)}, "masks: expected bool or uint8 [3, 8, 8], or one mask"),
    (
      {"strength": 0.5, "resampling": known_pixels.Resampling(2, 3)},
      "resample_times: expected 1 with a strength below 1",
    ),
    ({"masks": MASK, "resampling": 3}, "resampling: expected a Resampling, received 3"),
    ({"masks": [MASK, MASK[:4]]}, "masks: expected an array of one shape"),
    ({"masks": MASK, "count": 5}, "count: expected 3, the number of images, received 5"),
  ],
)
def test_wrong_values_are_refused(values, message):
  with pytest.raises(settings.InputError, match=f"^{re.escape(message)}"):
    editing.make_edits(IMAGES, SHAPE, **values)


def test_pictures_of_another_size_are_refused():
  with pytest.raises(settings.InputError, match=r"^images: expected"):
    editing.make_edits(IMAGES[:, :4], SHAPE, strength=0.5)


def test_the_way_between_latents_keeps_the_norm():
  first, second = np.random.default_rng(0).normal(size=(2, 4, 8, 8, 1))
  points = editing.spherical_interpolation(first, second, 5)
  assert points.shape == (4, 5, 8, 8, 1) and points.dtype == np.float32
  np.testing.assert_allclose(points[:, 0], first, rtol=1e-5)
  np.testing.assert_allclose(points[:, -1], second, rtol=1e-5)
  norms = np.linalg.norm(points.reshape(4, 5, -1), axis=-1)
  lower, upper = np.minimum(norms[:, 0], norms[:, -1]), np.maximum(norms[:, 0], norms[:, -1])
  assert np.all(norms >= 0.95 * lower[:, None]) and np.all(norms <= 1.05 * upper[:, None])
  # Between a latent and itself there is nothing else.
  same = editing.spherical_interpolation(first, first, 3)
  np.testing.assert_allclose(same, np.repeat(first[:, None], 3, axis=1), rtol=1e-5)
