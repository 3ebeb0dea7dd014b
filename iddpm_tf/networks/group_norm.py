"""Group normalization, conditioning and silu as one function with its own gradient."""

from typing import Any

from keras import ops

from iddpm_tf.networks.annotations import Tensor
from iddpm_tf.utils import recomputation

GROUPS = 32
EPSILON = 1e-5


def group_norm(
  x: Tensor,
  gamma: Tensor,
  beta: Tensor,
  scale: Tensor | None = None,
  shift: Tensor | None = None,
  *,
  silu: bool = False,
) -> Tensor:
  """Returns y = GroupNorm(x) (scale + 1) + shift (Wu & He, 2018), or silu(y).

  Everything after the statistics is one multiply-add over the image, forward, and two backward.
  The arithmetic is float32 in every type of `x`. The backward pass keeps `x` alone, and computes
  the rest again.

  Args:
    x: activations, `[B, H, W, C]`.
    gamma: the scale of each channel, float32 `[C]`.
    beta: the shift of each channel, float32 `[C]`.
    scale: the scale that the conditioning gives each image, `[B, C]`, or None.
    shift: the shift that the conditioning gives each image, `[B, C]`, or None.
    silu: whether silu(y) = y sigmoid(y) follows.
  """
  height, width, channels = ops.shape(x)[1:]
  # Every array has the axes [image, position, group, channel of the group].
  in_group = (GROUPS, channels // GROUPS)
  gamma, beta = (ops.reshape(each, (1, 1, *in_group)) for each in (gamma, beta))
  conditioning = [] if scale is None else [scale, shift]
  conditioning = [ops.reshape(each, (-1, 1, *in_group)) for each in conditioning]

  @ops.custom_gradient
  def normalize(x, gamma, beta, *conditioning):
    values = ops.cast(x, "float32")
    # The squares are those of deviations from the channel's mean. E[x^2] - E[x]^2 would cancel.
    channel_mean, variance = ops.moments(values, axes=(1,), keepdims=True)
    mean = _group_mean(channel_mean)
    # The variance within the channels, and the variance between them.
    inverse = ops.rsqrt(_group_mean(variance + ops.square(channel_mean - mean)) + EPSILON)
    a = inverse * gamma
    b = beta - mean * a
    if conditioning:
      factor = ops.cast(conditioning[0], "float32") + 1.0
      a, b = a * factor, b * factor + ops.cast(conditioning[1], "float32")
    y = values * a + b

    def gradient(*upstream: Tensor, **_: Any) -> list[Tensor]:
      d_y = ops.cast(upstream[0], "float32")
      values = ops.cast(recomputation.not_before(x, upstream[0]), "float32")
      if silu:
        y = values * a + b
        sigmoid = ops.sigmoid(y)
        d_y = d_y * (sigmoid + y * (sigmoid - ops.square(sigmoid)))
      # With the normalized n = (x - mean) inverse: y = n weight + bias for each image and channel.
      d_bias = ops.sum(d_y, axis=1, keepdims=True)
      d_weight = (ops.sum(d_y * values, axis=1, keepdims=True) - mean * d_bias) * inverse
      # d_x = inverse (d_n - E[d_n] - n E[n d_n]) with d_n = d_y weight, and E over the group.
      weight = gamma * factor if conditioning else gamma
      positions = ops.cast(ops.shape(x)[1], "float32")
      slope = _group_mean(weight * d_weight) * ops.square(inverse) / -positions
      offset = _group_mean(weight * d_bias) * inverse / -positions - mean * slope
      # Of the shape of `a`: multiplying an image by an array with a last axis of 1 is slow.
      slope, offset = (ops.broadcast_to(each, ops.shape(d_bias)) for each in (slope, offset))
      gradients = [d_y * a + (values * slope + offset)]
      if conditioning:
        gradients += [d_weight * factor, d_bias * factor, d_weight * gamma + d_bias * beta, d_bias]
      else:
        gradients += [d_weight, d_bias]
      gradients[1:3] = [ops.sum(each, axis=0, keepdims=True) for each in gradients[1:3]]
      inputs = (x, gamma, beta, *conditioning)
      return [ops.cast(each, other.dtype) for each, other in zip(gradients, inputs)]

    return ops.cast(y * ops.sigmoid(y) if silu else y, x.dtype), gradient

  y = normalize(ops.reshape(x, (-1, height * width, *in_group)), gamma, beta, *conditioning)
  return ops.reshape(y, (-1, height, width, channels))


def _group_mean(array):
  return ops.mean(array, axis=-1, keepdims=True)
