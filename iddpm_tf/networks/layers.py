"""The parts of the UNet's blocks. Images and activations are [B, H, W, C]."""

import math

import keras
from keras import ops

from iddpm_tf import settings

GROUPS = 32
EPSILON = 1e-5


def timestep_embedding(t, dim):
  """cos(t w_i), then sin(t w_i), with w_i = 10000^(-i / half), i < half = dim // 2: [B] -> float32 [B, dim].

  The sinusoids of Vaswani et al. (2017), section 3.5. An odd `dim` ends with a zero.
  """
  half = dim // 2
  frequencies = ops.exp(-math.log(10000.0) / max(half, 1) * ops.arange(half, dtype="float32"))
  angles = ops.cast(t, "float32")[:, None] * frequencies  # [B, half]
  embedding = ops.concatenate([ops.cos(angles), ops.sin(angles)], axis=-1)
  return ops.pad(embedding, ((0, 0), (0, dim % 2)))


def dense(channels_in, channels_out, *, dtype, name, zeros=False):
  """A built fully connected layer, [..., channels_in] -> [..., channels_out]."""
  layer = keras.layers.Dense(
    channels_out, dtype=dtype, name=name, **_initializers(channels_in, zeros)
  )
  layer.build((None, channels_in))
  return layer


def conv(channels_in, channels_out, size, *, dtype, name, zeros=False, strides=1, padding="same"):
  """A built convolution with a size x size kernel, [B, H, W, channels_in] -> [B, H, W, channels_out]."""
  layer = keras.layers.Conv2D(
    channels_out,
    size,
    strides=strides,
    padding=padding,
    data_format="channels_last",
    dtype=dtype,
    name=name,
    **_initializers(channels_in * size * size, zeros),
  )
  layer.build((None, None, None, channels_in))
  return layer


def _initializers(fan_in, zeros):
  """PyTorch's defaults, which the authors train from: U(-1/sqrt(fan_in), 1/sqrt(fan_in)), biases too."""
  if zeros:
    return {"kernel_initializer": "zeros", "bias_initializer": "zeros"}
  limit = 1 / math.sqrt(fan_in)
  # Two objects: one initialiser would give both the same numbers.
  return {
    "kernel_initializer": keras.initializers.RandomUniform(-limit, limit),
    "bias_initializer": keras.initializers.RandomUniform(-limit, limit),
  }


class GroupNorm(keras.Layer):
  """GroupNorm(x), or GroupNorm(x) (scale + 1) + shift: [B, H, W, C] and twice [B, C] -> [B, H, W, C].

  Wu & He (2018). All but the statistics is folded into one multiply-add over the image, which makes it
  about as fast on a CPU as a fused kernel.
  """

  def build(self, x_shape, scale_shape=None, shift_shape=None):
    channels = x_shape[-1]
    if channels % GROUPS:
      raise settings.InputError(
        self.name, f"expected a multiple of {GROUPS} channels, received {channels}"
      )
    # In float32 under every policy: the statistics are, and a and b are small.
    self.gamma = self.add_weight(
      shape=(channels,), initializer="ones", dtype="float32", autocast=False, name="gamma"
    )
    self.beta = self.add_weight(
      shape=(channels,), initializer="zeros", dtype="float32", autocast=False, name="beta"
    )

  def call(self, x, scale=None, shift=None):
    a, b = self._normalisation(x)
    if scale is not None:
      scale = ops.cast(scale, "float32") + 1.0
      a, b = a * scale, b * scale + ops.cast(shift, "float32")
    # [B, 1, 1, C] by reshape: the gradient of indexing with None is slow.
    spread = (-1, 1, 1, x.shape[-1])
    return x * ops.reshape(ops.cast(a, x.dtype), spread) + ops.reshape(ops.cast(b, x.dtype), spread)

  def _normalisation(self, x):
    """a and b, float32 [B, C], such that a x + b is normalised."""
    # The squares are of deviations from the channel's mean: E[x^2] - E[x]^2 would cancel.
    mean, variance = ops.moments(ops.cast(x, "float32"), axes=(1, 2))  # [B, C] each
    channels = x.shape[-1]
    grouped = (-1, GROUPS, channels // GROUPS)
    mean, variance = ops.reshape(mean, grouped), ops.reshape(variance, grouped)
    group_mean = ops.mean(mean, axis=-1, keepdims=True)  # [B, G, 1]
    # Within the channels and between them.
    group_variance = ops.mean(variance + ops.square(mean - group_mean), axis=-1, keepdims=True)
    a = ops.rsqrt(group_variance + EPSILON) * ops.reshape(self.gamma, grouped)  # [B, G, C/G]
    b = ops.reshape(self.beta, grouped) - group_mean * a
    return ops.reshape(a, (-1, channels)), ops.reshape(b, (-1, channels))


class Downsample(keras.Layer):
  """Halves height and width: [B, H, W, C] -> [B, H/2, W/2, C], by a convolution or the mean of 2x2."""

  def __init__(self, learned, *, dtype=None, name=None):
    super().__init__(dtype=dtype, name=name)
    self.learned = learned

  def build(self, x_shape):
    if self.learned:
      self.conv = conv(
        x_shape[-1],
        x_shape[-1],
        3,
        strides=2,
        padding="valid",
        dtype=self.dtype_policy,
        name="conv",
      )

  def call(self, x):
    if not self.learned:
      return ops.average_pool(x, 2, strides=2, padding="valid", data_format="channels_last")
    # PyTorch pads both sides by 1 ("same" would pad the far side only). No window reaches the far one.
    return self.conv(ops.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0))))

  def get_config(self):
    return {"name": self.name, "dtype": self.dtype_policy.name, "learned": self.learned}


class Upsample(keras.Layer):
  """Doubles height and width by nearest neighbours: [B, H, W, C] -> [B, 2H, 2W, C], then a convolution."""

  def __init__(self, learned, *, dtype=None, name=None):
    super().__init__(dtype=dtype, name=name)
    self.learned = learned

  def build(self, x_shape):
    if self.learned:
      self.conv = conv(x_shape[-1], x_shape[-1], 3, dtype=self.dtype_policy, name="conv")

  def call(self, x):
    x = ops.repeat(ops.repeat(x, 2, axis=1), 2, axis=2)
    return self.conv(x) if self.learned else x

  def get_config(self):
    return {"name": self.name, "dtype": self.dtype_policy.name, "learned": self.learned}


class Dropout(keras.Layer):
  """Keras' dropout, except that its seed has a stable path and exists at rate 0 too."""

  def __init__(self, rate, *, dtype=None, name=None):
    super().__init__(dtype=dtype, name=name)
    self.rate = rate
    self.seed_generator = keras.random.SeedGenerator(name=name)

  def call(self, x, training=False):
    if not training or not self.rate:
      return x
    return keras.random.dropout(x, self.rate, seed=self.seed_generator)

  def get_config(self):
    return {"name": self.name, "dtype": self.dtype_policy.name, "rate": self.rate}
