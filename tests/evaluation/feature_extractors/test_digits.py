"""The features of the digits' classifier."""

import hashlib

import numpy as np
import pytest

from iddpm_tf.evaluation import digits_classifier
from iddpm_tf.evaluation import features


@pytest.fixture(name="extractor", scope="module")
def fixture_extractor():
  """The extractor."""
  return features.load("digits")


def test_the_classifier_recognises_digits_and_is_small(test_split):
  model = digits_classifier.load()
  assert digits_classifier.accuracy(model, test_split.images, test_split.labels) > 0.97
  assert digits_classifier.WEIGHTS.stat().st_size < 300_000


def test_the_features_do_not_depend_on_the_batch(extractor, test_split):
  images = test_split.images[:7]
  features = extractor(images)
  assert features.pool.shape == features.spatial.shape == (7, 64)
  assert features.probabilities.shape == (7, 10)
  np.testing.assert_allclose(features.probabilities.sum(axis=1), 1, rtol=1e-5)
  np.testing.assert_allclose(extractor(images[3:4]).pool, features.pool[3:4], atol=1e-4)


def test_its_name_and_checksum_are_those_of_earlier_results(extractor):
  assert extractor.name == "digits" and extractor.image_shape == (8, 8, 1)
  assert extractor.checksum == hashlib.sha256(digits_classifier.WEIGHTS.read_bytes()).hexdigest()
  assert extractor.checksum.startswith("18e70df8c875")
