"""SavedModels as feature extractors."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.evaluation import features
from tests.evaluation.feature_extractors import networks


def test_the_features_are_the_outputs_of_the_signature(tmp_path):
  extractor = features.load(str(networks.save_means(tmp_path / "means")))
  images = networks.random_images(3)
  np.testing.assert_allclose(extractor(images).pool, 2 * images.mean(axis=(1, 2)), rtol=1e-5)
  assert extractor(images).spatial is None and extractor.name == "means"


def test_images_of_another_size_are_refused(tmp_path):
  fixed = networks.save_means(tmp_path / "fixed", shape=(None, 8, 8, 3))
  assert features.for_images(str(fixed), (8, 8, 1)).image_shape == (8, 8, 3)
  with pytest.raises(
    settings.InputError, match=r"features: .*16x16x3, received fixed.*takes 8x8x3"
  ):
    features.for_images(str(fixed), (16, 16, 3))


@pytest.mark.parametrize(
  "wrong",
  [{"name": "x"}, {"output": "features"}, {"dtype": tf.float32}, {"shape": (None, None, None, 4)}],
)
def test_other_signatures_are_refused(tmp_path, wrong):
  folder = networks.save_means(tmp_path / "wrong", **wrong)
  with pytest.raises(
    settings.InputError, match="features: expected a SavedModel that maps 'image'"
  ):
    features.load(str(folder))


def test_a_network_that_fails_on_the_images_is_refused(tmp_path):
  folder = networks.save_function(
    tmp_path / "fails", lambda image: {"pool": tf.reshape(tf.cast(image, tf.float32), [-1, 7])}
  )
  with pytest.raises(
    settings.InputError, match=r"features: .*images of 8x8x3, received .*fails.*fails on them"
  ):
    features.for_images(str(folder), (8, 8, 3))


@pytest.mark.parametrize(
  "pool",
  [
    lambda image: tf.reshape(tf.cast(image, tf.float32), [4, -1]),  # Rows of other images.
    lambda image: tf.cast(image[:, 0, 0], tf.int32),
    lambda image: tf.strings.as_string(image[:, 0, 0]),
    lambda image: tf.cast(image[:, 0, 0, 0], tf.float32),
  ],
)
def test_outputs_that_are_no_row_of_numbers_per_image_are_refused(tmp_path, pool):
  folder = networks.save_function(tmp_path / "odd", lambda image: {"pool": pool(image)})
  with pytest.raises(
    settings.InputError,
    match=r"features: expected floating-point features \[N, ...\] of N images.*odd",
  ):
    features.for_images(str(folder), (8, 8, 3))


def test_a_folder_that_is_no_saved_model_is_refused(tmp_path):
  with pytest.raises(
    settings.InputError, match="features: expected a SavedModel with serving_default"
  ):
    features.load(str(tmp_path))
