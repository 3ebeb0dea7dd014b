"""Images between files, bytes 0..255 and the network's [-1, 1]."""

import tensorflow as tf

from iddpm_tf.data.crops import centre_crop  # pylint: disable=unused-import


def area_downsample(image, height):
  """Means of squares: floats [B, H, W, C] -> [B, height, W height / H, C], for a `height` that divides H.

  What a super-resolution model enlarges (Appendix C), in training and in evaluation.
  """
  factor = image.shape[1] // height
  return tf.nn.avg_pool2d(image, factor, strides=factor, padding="VALID")


def to_unit_range(image):
  """uint8 of any shape to float32 in [-1, 1]: x / 127.5 - 1."""
  return tf.cast(image, tf.float32) / 127.5 - 1.0


def to_uint8(image):
  """Floats of any shape, clipped to [-1, 1], to the nearest of 256 levels: uint8.

  `to_uint8(to_unit_range(x))` is x.
  """
  # The authors truncate: every level between two integers falls to the lower, which darkens
  # samples by half a level on average. Rounding has no such bias.
  levels = (tf.cast(image, tf.float32) + 1.0) * 127.5
  return tf.saturate_cast(tf.round(levels), tf.uint8)
