"""The blocks that the UNet is made of: residual blocks and attention blocks.

Activations are [B, H, W, C].
"""

from typing import Any

import keras
from keras import ops

from iddpm_tf import settings
from iddpm_tf.networks import layers
from iddpm_tf.networks.annotations import DType
from iddpm_tf.networks.annotations import Shape
from iddpm_tf.networks.annotations import Tensor


class ResBlock(keras.Layer):
  """A residual block conditioned on an embedding: [B, H, W, C_in], [B, E] -> [B, H, W, channels].

  The embedding has gone through silu, which is the same for all blocks of a network.

  Appendix A of Nichol & Dhariwal (2021): the conditioning is GroupNorm(h) (scale + 1) + shift if
  `scale_shift_norm` is true, otherwise GroupNorm(h + v).

  A block may also halve ("down") or double ("up") height and width, as in BigGAN (Brock et al.,
  2019; section 3 of Dhariwal & Nichol, 2021): the normalized activations and the input are both
  averaged over 2x2 pixels, or both have their pixels repeated.
  """

  def __init__(
    self,
    channels: int,
    *,
    scale_shift_norm: bool = True,
    dropout: float = 0.0,
    resample: str = "none",
    dtype: DType = None,
    name: str | None = None,
  ):
    super().__init__(dtype=dtype, name=name)
    assert resample in ("none", "down", "up"), resample
    self.channels = channels
    self.scale_shift_norm = scale_shift_norm
    self.dropout = dropout
    self.resample = resample

  def build(self, x_shape: Shape, emb_shape: Shape) -> None:
    """Creates the layers for activations of `x_shape` and embeddings of `emb_shape`."""
    channels_in, channels, dtype = x_shape[-1], self.channels, self.dtype_policy
    self.in_norm = layers.GroupNorm(silu=True, dtype=dtype, name="in_norm")
    self.in_norm.build(x_shape)
    self.in_conv = layers.conv(channels_in, channels, 3, dtype=dtype, name="in_conv")
    conditioning = 2 * channels if self.scale_shift_norm else channels
    self.emb_dense = layers.dense(emb_shape[-1], conditioning, dtype=dtype, name="emb_dense")
    self.out_norm = layers.GroupNorm(silu=True, dtype=dtype, name="out_norm")
    self.out_norm.build((*x_shape[:-1], channels))
    self.out_dropout = layers.Dropout(self.dropout, dtype=dtype, name="out_dropout")
    # Because of the zeros, the block starts as its skip connection.
    self.out_conv = layers.conv(channels, channels, 3, zeros=True, dtype=dtype, name="out_conv")
    self.skip = None
    if channels_in != channels:
      self.skip = layers.conv(channels_in, channels, 1, dtype=dtype, name="skip")

  def call(self, x: Tensor, emb: Tensor, training: bool = False) -> Tensor:
    """Returns the activations: [B, H, W, C_in], [B, E] -> [B, H, W, channels]."""
    h = self.in_norm(x)
    if self.resample != "none":
      resize = layers.halve if self.resample == "down" else layers.double
      h, x = resize(h), resize(x)
    h = self.in_conv(h)
    conditioning = self.emb_dense(emb)
    if self.scale_shift_norm:
      scale, shift = ops.split(conditioning, 2, axis=-1)  # [B, C] each
      h = self.out_norm(h, scale, shift)
    else:
      h = self.out_norm(h + conditioning[:, None, None])  # [B, 1, 1, C]
    h = self.out_conv(self.out_dropout(h, training=training))
    return h + (x if self.skip is None else self.skip(x))

  def get_config(self) -> dict[str, Any]:
    """Returns the arguments that make this block again."""
    return {
      "name": self.name,
      "dtype": self.dtype_policy.name,
      "channels": self.channels,
      "scale_shift_norm": self.scale_shift_norm,
      "dropout": self.dropout,
      "resample": self.resample,
    }


class AttentionBlock(keras.Layer):
  """Self-attention between the positions of an image, added to its input.

  [B, H, W, C] -> [B, H, W, C]

  In the order "interleaved", the channels hold query, key and value of the first head, then those
  of the second, and so on. In the order "split", they hold the queries of all heads, then their
  keys, then their values.
  """

  def __init__(
    self,
    num_heads: int,
    *,
    order: str = "interleaved",
    dtype: DType = None,
    name: str | None = None,
  ):
    super().__init__(dtype=dtype, name=name)
    assert order in ("interleaved", "split"), order
    self.num_heads = num_heads
    self.order = order

  def build(self, x_shape: Shape) -> None:
    """Creates the layers for activations of `x_shape`."""
    channels, dtype = x_shape[-1], self.dtype_policy
    if channels % self.num_heads:
      raise settings.InputError(
        "num_heads", f"expected a divisor of {channels} channels, received {self.num_heads}"
      )
    self.norm = layers.GroupNorm(dtype=dtype, name="norm")
    self.norm.build(x_shape)
    self.qkv = layers.dense(channels, 3 * channels, dtype=dtype, name="qkv")
    # Because of the zeros, the block starts as the identity.
    self.out_dense = layers.dense(channels, channels, zeros=True, dtype=dtype, name="out_dense")

  def call(self, x: Tensor) -> Tensor:
    """Returns the activations: [B, H, W, C] -> [B, H, W, C]."""
    _, height, width, channels = ops.shape(x)
    qkv = ops.reshape(self.qkv(self.norm(x)), (-1, height * width, 3 * channels))
    h = attention(qkv, self.num_heads, self.order)
    return x + self.out_dense(ops.reshape(h, (-1, height, width, channels)))

  def get_config(self) -> dict[str, Any]:
    """Returns the arguments that make this block again."""
    return {
      "name": self.name,
      "dtype": self.dtype_policy.name,
      "num_heads": self.num_heads,
      "order": self.order,
    }


def attention(qkv: Tensor, num_heads: int, order: str) -> Tensor:
  """Returns softmax(q k^T / sqrt(dim)) v of each head: [B, N, 3 C] -> [B, N, C].

  The softmax is float32.

  Args:
    qkv: queries, keys and values of N positions, float [B, N, 3 C].
    num_heads: the number of heads, which have C / num_heads channels each.
    order: the order of the channels; see `AttentionBlock`.
  """
  _, positions, channels = ops.shape(qkv)
  dim = channels // (3 * num_heads)
  if order == "split":
    parts = ops.unstack(ops.reshape(qkv, (-1, positions, 3, num_heads, dim)), axis=2)
  else:
    parts = ops.unstack(ops.reshape(qkv, (-1, positions, num_heads, 3, dim)), axis=3)
  h = ops.dot_product_attention(*parts)  # [B, N, heads, dim]
  return ops.reshape(h, (-1, positions, num_heads * dim))
