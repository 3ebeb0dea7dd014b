"""Features of random weights."""

import numpy as np
import pytest

from iddpm_tf.evaluation import features
from iddpm_tf.evaluation import frechet
from iddpm_tf.evaluation.feature_extractors import random


@pytest.fixture(name="extractor", scope="module")
def fixture_extractor():
  """The extractor."""
  return features.load("random")


def pixels(*shape, seed=0):
  return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 3), (8, 8, 4), (64, 64, 3)])
def test_images_of_any_size_and_channels_have_features(extractor, shape):
  assert features.for_images("random", shape).name == "random"
  result = extractor(pixels(3, *shape))
  assert result.pool.shape == (3, 128) and result.spatial is result.probabilities is None
  assert len(np.unique(result.pool, axis=0)) == 3 and np.all(np.isfinite(result.pool))


def test_the_numbers_are_the_same_in_all_versions(extractor):
  """They were computed by this code. Results that were kept are compared with new ones."""
  image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(1, 4, 4, 3) * 5
  (pool,) = extractor(image).pool
  expected = [0.29374495, 0.55128515, 0.0174834, 0.64426458]
  np.testing.assert_allclose(pool[[0, 1, 40, 127]], expected, rtol=1e-4, atol=1e-5)


def test_features_do_not_depend_on_the_batch(extractor, monkeypatch):
  images = pixels(7, 8, 8, 3)
  pool = extractor(images).pool
  monkeypatch.setattr(random, "_PIXELS", 128)  # Two images at a time.
  np.testing.assert_allclose(extractor(images).pool, pool, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(extractor(images[3:4]).pool, pool[3:4], rtol=1e-5, atol=1e-6)


def test_grey_images_are_equal_colours(extractor):
  grey = pixels(3, 8, 8, 1)
  np.testing.assert_array_equal(extractor(grey).pool, extractor(grey.repeat(3, axis=-1)).pool)


def test_scores_tell_digits_from_worse_ones(extractor, test_split):
  """FID grows with the noise in the images."""
  images, generator = test_split.images, np.random.default_rng(0)
  half, other = (frechet.statistics(extractor(images[i::2]).pool).gaussian for i in (0, 1))
  distances = [frechet.frechet_distance(half, other)]
  for scale in (20, 60):
    noisy = np.clip(images[1::2] + generator.normal(0, scale, images[1::2].shape), 0, 255)
    gaussian = frechet.statistics(extractor(noisy.astype(np.uint8)).pool).gaussian
    distances.append(frechet.frechet_distance(half, gaussian))
  assert distances[1] > 2 * distances[0] and distances[2] > 4 * distances[1]
