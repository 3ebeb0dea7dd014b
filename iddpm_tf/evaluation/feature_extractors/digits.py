"""The features of the digits' classifier, which comes with the package."""

from collections.abc import Mapping

import tensorflow as tf

from iddpm_tf import registries
from iddpm_tf.data import images as images_lib
from iddpm_tf.evaluation import digits_classifier
from iddpm_tf.evaluation.feature_extractors import base

NAME = "digits"


@registries.FEATURE_EXTRACTORS.register(NAME)
class Digits(base.FeatureExtractor):
  """A small classifier of the embedded digits: pool [B, 64], spatial [B, 64], 10 probabilities."""

  def __init__(self, text: str = NAME):
    del text
    shape = digits_classifier.IMAGE_SHAPE
    super().__init__(NAME, image_shape=shape, files=[digits_classifier.WEIGHTS])
    self._network = digits_classifier.load()
    self._function = tf.function(
      self._compute, autograph=False, input_signature=[tf.TensorSpec([None, *shape], tf.uint8)]
    )

  def compute(self, images: tf.Tensor) -> Mapping[str, tf.Tensor]:
    """Returns all features."""
    return self._function(images)

  def _compute(self, images):
    pool, spatial, logits = self._network(images_lib.to_unit_range(images), training=False)
    return {"pool": pool, "spatial": spatial, "probabilities": tf.nn.softmax(logits)}
