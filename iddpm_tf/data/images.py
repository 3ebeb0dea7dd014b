"""Images between files, bytes 0..255 and the network's [-1, 1]."""

import tensorflow as tf


def area_downsample(image, height):
  """Means of squares: floats [B, H, W, C] -> [B, height, W height / H, C], for a `height` that divides H.

  What a super-resolution model enlarges (Appendix C), in training and in evaluation.
  """
  factor = image.shape[1] // height
  return tf.nn.avg_pool2d(image, factor, strides=factor, padding="VALID")


def with_low_resolution(image, low_res):
  """`image` [B, H, W, C] moved, square by square, so that `area_downsample` gives `low_res` [B, h, w, C].

  The nearest such image: the projection of Wang et al. (2023), "Zero-shot image restoration using denoising
  diffusion null-space model", section 3.2, for averages.
  """
  factor = image.shape[1] // low_res.shape[1]
  difference = low_res - area_downsample(image, low_res.shape[1])
  return image + tf.repeat(tf.repeat(difference, factor, axis=1), factor, axis=2)


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
