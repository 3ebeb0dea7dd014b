"""The layers that the UNet's blocks are made of. Images and activations are [B, H, W, C]."""

import math
from typing import Any

import keras
from keras import ops

from iddpm_tf import settings
from iddpm_tf.networks import group_norm
from iddpm_tf.networks.annotations import DType
from iddpm_tf.networks.annotations import Shape
from iddpm_tf.networks.annotations import Tensor


def timestep_embedding(t: Tensor, dim: int) -> Tensor:
  """Returns the sinusoidal embedding of timesteps: [B] -> float32 [B, dim].

  It is cos(t w_i), then sin(t w_i), with w_i = 10000^(-i / half) for i < half = dim // 2, as in
  section 3.5 of Vaswani et al. (2017). An odd `dim` ends with a zero.
  """
  half = dim // 2
  frequencies = ops.exp(-math.log(10000.0) / max(half, 1) * ops.arange(half, dtype="float32"))
  angles = ops.cast(t, "float32")[:, None] * frequencies  # [B, half]
  embedding = ops.concatenate([ops.cos(angles), ops.sin(angles)], axis=-1)
  return ops.pad(embedding, ((0, 0), (0, dim % 2)))


def dense(
  channels_in: int, channels_out: int, *, dtype: DType, name: str, zeros: bool = False
) -> keras.layers.Dense:
  """Returns a built dense layer: [..., channels_in] -> [..., channels_out].

  Its weights start as zeros if `zeros` is true, otherwise as PyTorch's do.
  """
  layer = keras.layers.Dense(
    channels_out, dtype=dtype, name=name, **initializers(channels_in, zeros=zeros)
  )
  layer.build((None, channels_in))
  return layer


def conv(
  channels_in: int, channels_out: int, size: int, *, dtype: DType, name: str, zeros: bool = False
) -> keras.layers.Conv2D:
  """Returns a built convolution: [B, H, W, channels_in] -> [B, H, W, channels_out].

  The kernel is size x size. The weights start as zeros if `zeros` is true, otherwise as PyTorch's
  do.
  """
  layer = keras.layers.Conv2D(
    channels_out,
    size,
    padding="same",
    data_format="channels_last",
    dtype=dtype,
    name=name,
    **initializers(channels_in * size * size, zeros=zeros),
  )
  layer.build((None, None, None, channels_in))
  return layer


def initializers(fan_in: int, *, zeros: bool = False) -> dict[str, Any]:
  """Returns the arguments of a Keras layer that set how its kernel and its bias start.

  Args:
    fan_in: the number of inputs of each output. The weights are drawn from
      U(-1/sqrt(fan_in), 1/sqrt(fan_in)), PyTorch's default, which the authors train from.
    zeros: whether the weights start as zeros instead.
  """
  if zeros:
    return {"kernel_initializer": "zeros", "bias_initializer": "zeros"}
  limit = 1 / math.sqrt(fan_in)
  # There are two objects, because one initializer would give both the same numbers.
  return {
    "kernel_initializer": keras.initializers.RandomUniform(-limit, limit),
    "bias_initializer": keras.initializers.RandomUniform(-limit, limit),
  }


class GroupNorm(keras.Layer):
  """Group normalization, optionally with a scale and a shift for each image, and with silu.

  It computes GroupNorm(x), or GroupNorm(x) (scale + 1) + shift: [B, H, W, C] and two [B, C] ->
  [B, H, W, C]; see `group_norm.group_norm`.
  """

  def __init__(self, *, silu: bool = False, dtype: DType = None, name: str | None = None):
    super().__init__(dtype=dtype, name=name)
    self.silu = silu

  def build(
    self, x_shape: Shape, scale_shape: Shape | None = None, shift_shape: Shape | None = None
  ) -> None:
    """Creates the weights for inputs of `x_shape`."""
    channels = x_shape[-1]
    if channels % group_norm.GROUPS:
      raise settings.InputError(
        self.name, f"expected a multiple of {group_norm.GROUPS} channels, received {channels}"
      )
    # The statistics are float32 under every policy, and so are the weights, which are small.
    self.gamma = self.add_weight(
      shape=(channels,), initializer="ones", dtype="float32", autocast=False, name="gamma"
    )
    self.beta = self.add_weight(
      shape=(channels,), initializer="zeros", dtype="float32", autocast=False, name="beta"
    )

  def call(self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
    """Returns the normalized `x`: [B, H, W, C] and two [B, C] -> [B, H, W, C]."""
    return group_norm.group_norm(x, self.gamma, self.beta, scale, shift, silu=self.silu)

  def get_config(self) -> dict[str, Any]:
    """Returns the arguments that make this layer again."""
    return {"name": self.name, "dtype": self.dtype_policy.name, "silu": self.silu}


def halve(x: Tensor) -> Tensor:
  """Returns the mean of 2x2 pixels: [B, H, W, C] -> [B, H/2, W/2, C]."""
  return ops.average_pool(x, 2, strides=2, padding="valid", data_format="channels_last")


def double(x: Tensor) -> Tensor:
  """Repeats each pixel: [B, H, W, C] -> [B, 2H, 2W, C]."""
  return ops.repeat(ops.repeat(x, 2, axis=1), 2, axis=2)


class Downsample(keras.Layer):
  """Halves height and width: [B, H, W, C] -> [B, H/2, W/2, C].

  It is a convolution of stride 2 if `learned` is true, otherwise the mean of 2x2 pixels.
  """

  def __init__(self, learned: bool, *, dtype: DType = None, name: str | None = None):
    super().__init__(dtype=dtype, name=name)
    self.learned = learned

  def build(self, x_shape: Shape) -> None:
    """Creates the convolution for inputs of `x_shape`."""
    if self.learned:
      channels = x_shape[-1]
      self.conv = keras.layers.Conv2D(
        channels,
        3,
        strides=2,
        padding="valid",
        data_format="channels_last",
        dtype=self.dtype_policy,
        name="conv",
        **initializers(9 * channels),
      )
      self.conv.build((None, None, None, channels))

  def call(self, x: Tensor) -> Tensor:
    """Returns the smaller image: [B, H, W, C] -> [B, H/2, W/2, C]."""
    if not self.learned:
      return halve(x)
    # PyTorch pads both sides by 1, and no window reaches the padding on the far side. The padding
    # "same" would be on the far side only.
    return self.conv(ops.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0))))

  def get_config(self) -> dict[str, Any]:
    """Returns the arguments that make this layer again."""
    return {"name": self.name, "dtype": self.dtype_policy.name, "learned": self.learned}


class Upsample(keras.Layer):
  """Doubles height and width: [B, H, W, C] -> [B, 2H, 2W, C].

  It repeats each pixel, then applies a convolution if `learned` is true.
  """

  def __init__(self, learned: bool, *, dtype: DType = None, name: str | None = None):
    super().__init__(dtype=dtype, name=name)
    self.learned = learned

  def build(self, x_shape: Shape) -> None:
    """Creates the convolution for inputs of `x_shape`."""
    if self.learned:
      self.conv = conv(x_shape[-1], x_shape[-1], 3, dtype=self.dtype_policy, name="conv")

  def call(self, x: Tensor) -> Tensor:
    """Returns the larger image: [B, H, W, C] -> [B, 2H, 2W, C]."""
    x = double(x)
    return self.conv(x) if self.learned else x

  def get_config(self) -> dict[str, Any]:
    """Returns the arguments that make this layer again."""
    return {"name": self.name, "dtype": self.dtype_policy.name, "learned": self.learned}


class Dropout(keras.Layer):
  """Dropout as in Keras, except that its seed has a stable path and exists at rate 0 as well."""

  def __init__(self, rate: float, *, dtype: DType = None, name: str | None = None):
    super().__init__(dtype=dtype, name=name)
    self.rate = rate
    self.seed_generator = keras.random.SeedGenerator(name=name)

  def call(self, x: Tensor, training: bool = False) -> Tensor:
    """Returns `x`, with values dropped at random if `training` is true."""
    if not training or not self.rate:
      return x
    return keras.random.dropout(x, self.rate, seed=self.seed_generator)

  def get_config(self) -> dict[str, Any]:
    """Returns the arguments that make this layer again."""
    return {"name": self.name, "dtype": self.dtype_policy.name, "rate": self.rate}
