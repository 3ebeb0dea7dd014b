"""Group normalization, conditioning and silu as one function with its own gradient."""

from typing import Any

from keras import ops

from iddpm_tf.networks.annotations import Tensor

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
  The arithmetic is float32 in every type of `x`.

  Args:
    x: activations, `[B, H, W, C]`.
    gamma: the scale of each channel, float32 `[1, C]`.
    beta: the shift of each channel, float32 `[1, C]`.
    scale: the scale that the conditioning gives each image, `[B, C]`, or None.
    shift: the shift that the conditioning gives each image, `[B, C]`, or None.
    silu: whether silu(y) = y sigmoid(y) follows.
  """

  @ops.custom_gradient
  def normalize(x, gamma, beta, *conditioning):
    values = ops.cast(x, "float32")
    mean, inverse = _statistics(values)  # [B, G, 1] each
    factor = ops.cast(conditioning[0], "float32") + 1.0 if conditioning else None  # [B, C]
    a = _per_channel(inverse * _grouped(gamma))  # [B, C]
    b = beta - _per_channel(mean * _grouped(a))
    if conditioning:
      a, b = a * factor, b * factor + ops.cast(conditioning[1], "float32")
    a, b = _spread(a), _spread(b)
    y = values * a + b

    def gradient(*upstream: Tensor, **_: Any) -> list[Tensor]:
      d_y = ops.cast(upstream[0], "float32")
      if silu:
        sigmoid = ops.sigmoid(y)
        d_y = d_y * (sigmoid + y * (sigmoid - ops.square(sigmoid)))
      # With the normalized n = (x - mean) inverse: y = n weight + bias for each image and channel.
      d_bias = ops.sum(d_y, axis=(1, 2))  # [B, C]
      d_weight = ops.sum(d_y * values, axis=(1, 2)) - _per_channel(mean * _grouped(d_bias))
      d_weight = _per_channel(inverse * _grouped(d_weight))
      # d_x = inverse (d_n - E[d_n] - n E[n d_n]) with d_n = d_y weight, and E over the group.
      weight = gamma if factor is None else gamma * factor
      size = x.shape[1] * x.shape[2] * (x.shape[3] // GROUPS)
      mean_d = ops.sum(_grouped(weight * d_bias), axis=-1, keepdims=True) / size  # [B, G, 1]
      mean_n_d = ops.sum(_grouped(weight * d_weight), axis=-1, keepdims=True) / size
      slope = -ops.square(inverse) * mean_n_d
      offset = -inverse * mean_d - mean * slope
      ones = ops.ones_like(_grouped(d_bias))
      d_x = d_y * a + (
        values * _spread(_per_channel(slope * ones)) + _spread(_per_channel(offset * ones))
      )
      if factor is None:
        gradients = [
          d_x,
          ops.sum(d_weight, axis=0, keepdims=True),
          ops.sum(d_bias, axis=0, keepdims=True),
        ]
      else:
        gradients = [
          d_x,
          ops.sum(d_weight * factor, axis=0, keepdims=True),
          ops.sum(d_bias * factor, axis=0, keepdims=True),
          d_weight * gamma + d_bias * beta,
          d_bias,
        ]
      inputs = (x, gamma, beta, *conditioning)
      return [ops.cast(each, other.dtype) for each, other in zip(gradients, inputs)]

    return ops.cast(y * ops.sigmoid(y) if silu else y, x.dtype), gradient

  conditioning = [] if scale is None else [scale, shift]
  return normalize(x, gamma, beta, *conditioning)


def _statistics(values):
  """Returns the mean and the inverse deviation of each group, [B, G, 1] each."""
  # The squares are those of deviations from the channel's mean. E[x^2] - E[x]^2 would cancel.
  mean, variance = (_grouped(each) for each in ops.moments(values, axes=(1, 2)))  # [B, G, C/G]
  group_mean = ops.mean(mean, axis=-1, keepdims=True)
  # The variance within the channels, and the variance between them.
  group_variance = ops.mean(variance + ops.square(mean - group_mean), axis=-1, keepdims=True)
  return group_mean, ops.rsqrt(group_variance + EPSILON)


def _grouped(array):
  """Splits the channels into groups: [..., C] -> [-1, G, C/G]."""
  return ops.reshape(array, (-1, GROUPS, array.shape[-1] // GROUPS))


def _per_channel(array):
  """Undoes `_grouped`: [B, G, C/G] -> [B, C]."""
  return ops.reshape(array, (-1, array.shape[-2] * array.shape[-1]))


def _spread(array):
  """Returns the array for all positions of an image: [B, C] -> [B, 1, 1, C]."""
  # ops.reshape, because the gradient of indexing with None is slow.
  return ops.reshape(array, (-1, 1, 1, array.shape[-1]))
