"""Features of a network with random weights, for images of any size, without a download."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from iddpm_tf import registries
from iddpm_tf.data import images as images_lib
from iddpm_tf.evaluation.feature_extractors import base

NAME = "random"
_SEED = 0
_CHANNELS = (32, 32, 32, 32)  # Of each convolution.
_BIAS = 0.5  # The standard deviation of the biases.
_PIXELS = 2**20  # The most pixels at a time, whose activations take 128 MiB.


@registries.FEATURE_EXTRACTORS.register(NAME)
class Random(base.FeatureExtractor):
  """Four convolutions with fixed random weights: pool [B, 128].

  Each is followed by ReLU, and halves the size for the next one. The features are the means of
  their outputs over the image, of 32 channels each: the colours and textures of four scales. They
  know no objects. Their scores tell apart images of one size, and say nothing beside scores of
  other features.
  """

  one_size = True

  def __init__(self, text: str = NAME):
    del text
    super().__init__(NAME, image_shape=(None, None, None), files=[__file__])
    # RandomState, unlike NumPy's other generators, gives the same numbers in all versions.
    generator = np.random.RandomState(_SEED)
    self._layers = []
    inputs = 4
    for outputs in _CHANNELS:
      kernel = generator.standard_normal([3, 3, inputs, outputs]) * np.sqrt(2 / (9 * inputs))
      bias = _BIAS * generator.standard_normal([outputs])
      self._layers.append((kernel.astype(np.float32), bias.astype(np.float32)))
      inputs = outputs

  def compute(self, images: tf.Tensor) -> Mapping[str, tf.Tensor]:
    """Returns the means of all channels. Grey images have the features of equal colours."""
    if images.shape[-1] == 1:
      images = tf.repeat(images, 3, axis=-1)
    _, height, width, _ = images.shape
    count = max(1, _PIXELS // (height * width))
    parts = [
      self._means(images[start : start + count]) for start in range(0, images.shape[0], count)
    ]
    return {"pool": tf.concat(parts, axis=0)}

  def _means(self, images):
    """Maps uint8 [B, H, W, 3 or 4] to float32 [B, 128]."""
    x, means = images_lib.to_unit_range(images), []
    for kernel, bias in self._layers:
      # Images without transparency take the first three of four channels.
      x = tf.nn.relu(tf.nn.conv2d(x, kernel[:, :, : x.shape[-1]], 1, "SAME") + bias)
      means.append(tf.reduce_mean(x, axis=[1, 2]))
      x = tf.nn.avg_pool2d(x, 2, 2, "SAME")
    return tf.concat(means, axis=-1)
