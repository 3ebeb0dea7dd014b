"""The heads of the noisy classifier, which turn activations into one value for each class."""

from typing import Any

import keras
from keras import ops

from iddpm_tf.networks import blocks
from iddpm_tf.networks import layers
from iddpm_tf.networks.annotations import Shape
from iddpm_tf.networks.annotations import Tensor

_HIDDEN = 2048  # Units of the hidden layer of `MeansHead`.


class MeanHead(keras.Layer):
  """The mean over all positions, then a dense layer: [B, H, W, C] -> float32 [B, units].

  The activations are normalized before. The result is zero before training.
  """

  def __init__(self, units: int, *, name: str | None = None):
    super().__init__(dtype="float32", name=name)
    self.units = units

  def build(self, x_shape: Shape) -> None:
    """Creates the layers for activations of `x_shape`."""
    self.norm = layers.GroupNorm(silu=True, dtype="float32", name="norm")
    self.norm.build(x_shape)
    self.out_dense = layers.dense(
      x_shape[-1], self.units, zeros=True, dtype="float32", name="out_dense"
    )

  def call(self, x: Tensor) -> Tensor:
    """Returns the values: [B, H, W, C] -> [B, units]."""
    return self.out_dense(ops.mean(self.norm(x), axis=(1, 2)))

  def get_config(self) -> dict[str, Any]:
    """Returns the arguments that make this layer again."""
    return {"name": self.name, "units": self.units}


class AttentionHead(keras.Layer):
  """The result of attention of the mean to all positions: [B, H, W, C] -> float32 [B, units].

  The activations are normalized before. It is the attention pooling of CLIP (Radford et al., 2021):
  the mean over the positions is one position more, each position has a learned embedding, and the
  result of the mean's query is taken. Height and width are those of the first build.
  """

  def __init__(self, units: int, num_heads: int, *, name: str | None = None):
    super().__init__(dtype="float32", name=name)
    self.units = units
    self.num_heads = num_heads

  def build(self, x_shape: Shape) -> None:
    """Creates the layers for activations of `x_shape`."""
    _, height, width, channels = x_shape
    self.norm = layers.GroupNorm(silu=True, dtype="float32", name="norm")
    self.norm.build(x_shape)
    self.positions = self.add_weight(
      shape=(height * width + 1, channels),
      initializer=keras.initializers.RandomNormal(stddev=channels**-0.5),
      dtype="float32",
      name="positions",
    )
    self.qkv = layers.dense(channels, 3 * channels, dtype="float32", name="qkv")
    self.out_dense = layers.dense(channels, self.units, dtype="float32", name="out_dense")

  def call(self, x: Tensor) -> Tensor:
    """Returns the values: [B, H, W, C] -> [B, units]."""
    channels = x.shape[-1]
    x = ops.reshape(self.norm(x), (-1, self.positions.shape[0] - 1, channels))  # [B, HW, C]
    x = ops.concatenate([ops.mean(x, axis=1, keepdims=True), x], axis=1)  # [B, 1 + HW, C]
    h = blocks.attention(self.qkv(x + self.positions), self.num_heads, "split")
    return self.out_dense(h[:, 0])

  def get_config(self) -> dict[str, Any]:
    """Returns the arguments that make this layer again."""
    return {"name": self.name, "units": self.units, "num_heads": self.num_heads}


class MeansHead(keras.Layer):
  """Two dense layers of the means of all blocks' activations: [B, C] -> float32 [B, units].

  Between them is relu, or group normalization and silu if `normalized` is true.
  """

  def __init__(self, units: int, *, normalized: bool, name: str | None = None):
    super().__init__(dtype="float32", name=name)
    self.units = units
    self.normalized = normalized

  def build(self, x_shape: Shape) -> None:
    """Creates the layers for inputs of `x_shape`."""
    self.in_dense = layers.dense(x_shape[-1], _HIDDEN, dtype="float32", name="in_dense")
    self.norm = None
    if self.normalized:
      self.norm = layers.GroupNorm(silu=True, dtype="float32", name="norm")
      self.norm.build((None, 1, 1, _HIDDEN))
    self.out_dense = layers.dense(_HIDDEN, self.units, dtype="float32", name="out_dense")

  def call(self, x: Tensor) -> Tensor:
    """Returns the values: [B, C] -> [B, units]."""
    h = self.in_dense(x)
    h = ops.relu(h) if self.norm is None else self.norm(h[:, None, None])[:, 0, 0]
    return self.out_dense(h)

  def get_config(self) -> dict[str, Any]:
    """Returns the arguments that make this layer again."""
    return {"name": self.name, "units": self.units, "normalized": self.normalized}
