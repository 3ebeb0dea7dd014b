"""Images between bytes 0..255 and the network's range [-1, 1], and between resolutions."""

import tensorflow as tf


def area_downsample(image: tf.Tensor, height: int) -> tf.Tensor:
  """Returns the means of squares: floats [B, H, W, C] -> [B, height, W * height / H, C].

  A super-resolution model (Appendix C) enlarges these images, in training and in evaluation.

  Args:
    image: floats [B, H, W, C].
    height: the new height, a divisor of H.
  """
  factor = image.shape[1] // height
  return tf.nn.avg_pool2d(image, factor, strides=factor, padding="VALID")


def with_low_resolution(image: tf.Tensor, low_res: tf.Tensor) -> tf.Tensor:
  """Returns the image nearest to `image` whose `area_downsample` is `low_res`.

  Each square is moved by a constant. This is the projection of Wang et al. (2023), "Zero-shot image
  restoration using denoising diffusion null-space model", section 3.2, for averages.

  Args:
    image: floats [B, H, W, C].
    low_res: floats [B, h, w, C].

  Returns:
    Floats [B, H, W, C].
  """
  factor = image.shape[1] // low_res.shape[1]
  difference = low_res - area_downsample(image, low_res.shape[1])
  return image + tf.repeat(tf.repeat(difference, factor, axis=1), factor, axis=2)


def to_unit_range(image: tf.Tensor) -> tf.Tensor:
  """Returns uint8 of any shape as float32 in [-1, 1]: x / 127.5 - 1."""
  return tf.cast(image, tf.float32) / 127.5 - 1.0


def to_uint8(image: tf.Tensor, *, truncate: bool = False) -> tf.Tensor:
  """Returns floats of any shape, clipped to [-1, 1], as one of 256 levels in uint8.

  Without `truncate`, `to_uint8(to_unit_range(x))` is x.

  Args:
    image: the floats.
    truncate: whether each value between two levels becomes the lower one, as in the authors' code,
      which darkens samples by half a level on average. Otherwise it becomes the nearest one.
  """
  levels = (tf.cast(image, tf.float32) + 1.0) * 127.5
  return tf.saturate_cast(levels if truncate else tf.round(levels), tf.uint8)
