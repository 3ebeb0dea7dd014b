"""The part that a UNet and a classifier share: embeddings, the way down and the middle.

It is that of Appendix A of Nichol & Dhariwal (2021), arXiv:2102.09672, with the options of
section 3 of Dhariwal & Nichol (2021), arXiv:2105.05233.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from iddpm_tf import settings
from iddpm_tf.networks import blocks as blocks_lib
from iddpm_tf.networks import layers
from iddpm_tf.networks.annotations import DType
from iddpm_tf.networks.annotations import Shape
from iddpm_tf.networks.annotations import Tensor

Block = list[keras.Layer]  # Layers that run one after the other.

_OPTIONS = (
  "base_channels",
  "channel_multipliers",
  "num_res_blocks",
  "attention_factors",
  "num_heads",
  "num_head_channels",
  "attention_order",
  "scale_shift_norm",
  "conv_resample",
  "resblock_updown",
  "scaled_first_conv",
  "dropout",
)


class Encoder(keras.Model):
  """The base class of networks that begin with the way down of a UNet.

  Attributes:
    options: the names of the arguments that make the network again.
  """

  options: tuple[str, ...] = _OPTIONS

  def __init__(
    self,
    *,
    base_channels: int,
    channel_multipliers: Sequence[float],
    num_res_blocks: int,
    attention_factors: Sequence[int],
    num_heads: int,
    num_head_channels: int = 0,
    attention_order: str = "interleaved",
    scale_shift_norm: bool = True,
    conv_resample: bool = True,
    resblock_updown: bool = False,
    scaled_first_conv: bool = False,
    dropout: float = 0.0,
    dtype: DType = None,
    name: str | None = None,
  ):
    """Makes an unbuilt network.

    Args:
      base_channels: the unit of the channels.
      channel_multipliers: channels of each level, in units of `base_channels`, highest resolution
        first. Products are rounded down.
      num_res_blocks: residual blocks per level on the way down.
      attention_factors: the downsampling factors at which there is self-attention, such as (2, 4).
      num_heads: attention heads.
      num_head_channels: channels of each attention head. 0 means that `num_heads` counts.
      attention_order: the order of the channels of queries, keys and values; see
        `blocks.AttentionBlock`.
      scale_shift_norm: how residual blocks are conditioned, see `blocks.ResBlock`.
      conv_resample: whether down- and upsampling have a convolution.
      resblock_updown: whether residual blocks resample, in place of convolutions.
      scaled_first_conv: whether the first convolution has as many channels as the first level.
        Otherwise it has `base_channels`.
      dropout: dropout rate in the residual blocks.
      dtype: type or policy of the layers. The embeddings and the last layers are float32 always.
      name: name of the network.
    """
    # The inputs are not cast, because bfloat16 has no 3999 for a timestep.
    super().__init__(dtype=dtype, name=name, autocast=False)
    self.base_channels = base_channels
    self.channel_multipliers = tuple(channel_multipliers)
    self.num_res_blocks = num_res_blocks
    self.attention_factors = tuple(attention_factors)
    self.num_heads = num_heads
    self.num_head_channels = num_head_channels
    self.attention_order = attention_order
    self.scale_shift_norm = scale_shift_norm
    self.conv_resample = conv_resample
    self.resblock_updown = resblock_updown
    self.scaled_first_conv = scaled_first_conv
    self.dropout = dropout

  def get_config(self) -> dict[str, Any]:
    """Returns the arguments that make this network again."""
    return {
      "name": self.name,
      "dtype": self.dtype_policy.name,
      **{option: getattr(self, option) for option in self.options},
    }

  @property
  def blocks(self) -> list[Block]:
    """Returns all blocks, in the order in which they run."""
    return [*self.input_blocks, self.middle]

  @property
  def dropouts(self) -> list[layers.Dropout]:
    """Returns all dropout layers, in the order in which they run."""
    return [
      layer.out_dropout
      for block in self.blocks
      for layer in block
      if isinstance(layer, blocks_lib.ResBlock)
    ]

  def widths(self) -> list[int]:
    """Returns the channels of each level, highest resolution first."""
    return [int(self.base_channels * multiplier) for multiplier in self.channel_multipliers]

  def _build_time_embedding(self) -> None:
    channels = 4 * self.base_channels
    # These layers are float32, as the timestep is.
    self.time_in = layers.dense(self.base_channels, channels, dtype="float32", name="time_in")
    self.time_out = layers.dense(channels, channels, dtype="float32", name="time_out")

  def _build_encoder(self, channels_in: int) -> list[int]:
    """Creates the way down and the middle.

    Args:
      channels_in: the channels of the network's input.

    Returns:
      The channels of the output of each block on the way down.
    """
    self.input_blocks, skip_channels = self._input_blocks(channels_in)
    channels = skip_channels[-1]
    self.middle = [
      self._res_block("middle_0", channels, channels),
      self._attention("middle_1", channels, self.num_heads),
      self._res_block("middle_2", channels, channels),
    ]
    return skip_channels

  def _input_blocks(self, channels_in: int) -> tuple[list[Block], list[int]]:
    """Returns the blocks on the way down, and the channels of the output of each."""
    widths = self.widths()
    channels = widths[0] if self.scaled_first_conv else self.base_channels
    first = layers.conv(channels_in, channels, 3, dtype=self.dtype_policy, name="input_0_0")
    input_blocks, skip_channels = [[first]], [channels]
    for level, channels in enumerate(widths):
      for _ in range(self.num_res_blocks):
        name = f"input_{len(input_blocks)}"
        input_blocks.append(self._stage(name, skip_channels[-1], channels, level, self.num_heads))
        skip_channels.append(channels)
      if level < len(widths) - 1:
        name = f"input_{len(input_blocks)}_0"
        input_blocks.append([self._resample("down", name, channels)])
        skip_channels.append(channels)
    return input_blocks, skip_channels

  def _stage(self, name: str, channels_in: int, channels: int, level: int, num_heads: int) -> Block:
    """Returns a residual block, and an attention block if this level has attention."""
    stage = [self._res_block(f"{name}_0", channels_in, channels)]
    if 2**level in self.attention_factors:
      stage.append(self._attention(f"{name}_1", channels, num_heads))
    return stage

  def _res_block(
    self, name: str, channels_in: int, channels: int, resample: str = "none"
  ) -> blocks_lib.ResBlock:
    layer = blocks_lib.ResBlock(
      channels,
      scale_shift_norm=self.scale_shift_norm,
      dropout=self.dropout,
      resample=resample,
      dtype=self.dtype_policy,
      name=name,
    )
    layer.build((None, None, None, channels_in), (None, 4 * self.base_channels))
    return layer

  def _attention(self, name: str, channels: int, num_heads: int) -> blocks_lib.AttentionBlock:
    layer = blocks_lib.AttentionBlock(
      self._heads(channels, num_heads),
      order=self.attention_order,
      dtype=self.dtype_policy,
      name=name,
    )
    layer.build((None, None, None, channels))
    return layer

  def _heads(self, channels: int, num_heads: int) -> int:
    """Returns the number of heads that attend to activations of `channels`."""
    if not self.num_head_channels:
      return num_heads
    settings.require(
      channels % self.num_head_channels == 0,
      "num_head_channels",
      f"a divisor of {channels} channels",
      self.num_head_channels,
    )
    return channels // self.num_head_channels

  def _resample(self, direction: str, name: str, channels: int) -> keras.Layer:
    """Returns the layer that halves ("down") or doubles ("up") height and width."""
    if self.resblock_updown:
      return self._res_block(name, channels, channels, resample=direction)
    layer_class = layers.Downsample if direction == "down" else layers.Upsample
    layer = layer_class(self.conv_resample, dtype=self.dtype_policy, name=name)
    layer.build((None, None, None, channels))
    return layer

  def _time_embedding(self, t: Tensor) -> Tensor:
    """Returns the embedding of timesteps before the last silu: [B] -> [B, 4 base_channels]."""
    emb = self.time_in(layers.timestep_embedding(t, self.base_channels))
    return self.time_out(ops.silu(emb))

  def _require_divisible(self, x_shape: Shape) -> None:
    factor = 2 ** (len(self.channel_multipliers) - 1)
    height, width = x_shape[1:3]
    if any(size is not None and size % factor for size in (height, width)):
      raise settings.InputError(
        "x", f"expected height and width divisible by {factor}, received {height}x{width}"
      )


def apply(block: Block, h: Tensor, emb: Tensor, training: bool) -> Tensor:
  """Runs the layers of a block one after the other."""
  for layer in block:
    h = layer(h, emb, training=training) if isinstance(layer, blocks_lib.ResBlock) else layer(h)
  return h


def apply_and_forget(block: Block, h: Tensor, emb: Tensor, training: bool) -> Tensor:
  """Runs the layers of a block, and keeps only its inputs in memory for the backward pass."""
  weights = [weight for layer in block for weight in layer.trainable_variables]
  seeds = [seed for layer in block for seed in layer.non_trainable_variables]

  # The weights are arguments, because the gradient is taken with respect to arguments only.
  @keras.remat
  def run(h, emb, *values):
    with keras.StatelessScope() as scope:
      for pair in zip([*weights, *seeds], [*values, *seed_values], strict=True):
        scope.add_update(pair)
      return apply(block, h, emb, training)

  seed_values = [seed.value for seed in seeds]
  return run(h, emb, *(weight.value for weight in weights))
