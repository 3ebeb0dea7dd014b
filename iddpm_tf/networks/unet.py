"""The UNet of Appendix A of Nichol & Dhariwal (2021), arXiv:2102.09672."""

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
  "num_heads_upsample",
  "scale_shift_norm",
  "conv_resample",
  "dropout",
  "num_classes",
  "out_channels",
)


class UNet(keras.Model):
  """A UNet conditioned on timesteps and, optionally, on class labels: `network(x, t, label)`.

  x [B, H, W, C], t float [B], label int [B] -> float32 [B, H, W, out_channels]. The output is zero
  before training. The number of channels of `x` is that of the first build. Height and width may
  change between calls, and must be divisible by 2^(len(channel_multipliers) - 1).
  """

  def __init__(
    self,
    *,
    base_channels: int,
    channel_multipliers: Sequence[int],
    num_res_blocks: int,
    attention_factors: Sequence[int],
    num_heads: int,
    out_channels: int,
    num_heads_upsample: int = 0,
    scale_shift_norm: bool = True,
    conv_resample: bool = True,
    dropout: float = 0.0,
    num_classes: int = 0,
    dtype: DType = None,
    name: str = "unet",
  ):
    """Makes an unbuilt network.

    Args:
      base_channels: the unit of the channels.
      channel_multipliers: channels of each level, in units of `base_channels`, highest resolution
        first.
      num_res_blocks: residual blocks per level on the way down. There is one more on the way up.
      attention_factors: the downsampling factors at which there is self-attention, such as (2, 4).
      num_heads: attention heads.
      out_channels: channels of the output.
      num_heads_upsample: attention heads on the way up. 0 means `num_heads`.
      scale_shift_norm: how residual blocks are conditioned, see `blocks.ResBlock`.
      conv_resample: whether down- and upsampling have a convolution.
      dropout: dropout rate in the residual blocks.
      num_classes: number of classes. 0 means an unconditional network.
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
    self.num_heads_upsample = num_heads_upsample
    self.scale_shift_norm = scale_shift_norm
    self.conv_resample = conv_resample
    self.dropout = dropout
    self.num_classes = num_classes
    self.out_channels = out_channels

  def build(
    self, x_shape: Shape, t_shape: Shape | None = None, label_shape: Shape | None = None
  ) -> None:
    """Creates the layers for images of `x_shape`."""
    self._require_divisible(x_shape)
    self._build_embeddings()
    self.input_blocks, skip_channels = self._input_blocks(x_shape[-1])
    channels = skip_channels[-1]
    self.middle = [
      self._res_block("middle_0", channels, channels),
      self._attention("middle_1", channels, self.num_heads),
      self._res_block("middle_2", channels, channels),
    ]
    self.output_blocks = self._output_blocks(skip_channels)
    # The last two layers are float32, because their rounding errors would be seen in the image.
    channels = self.base_channels * self.channel_multipliers[0]
    self.out_norm = layers.GroupNorm(silu=True, dtype="float32", name="out_norm")
    self.out_norm.build((None, None, None, channels))
    self.out_conv = layers.conv(
      channels, self.out_channels, 3, zeros=True, dtype="float32", name="out_conv"
    )

  def call(
    self,
    x: Tensor,
    t: Tensor,
    label: Tensor | None = None,
    training: bool = False,
    *,
    remat: bool = False,
  ) -> Tensor:
    """Returns the network's prediction, float32 [B, H, W, out_channels].

    Args:
      x: noisy images, float [B, H, W, C].
      t: timesteps, float [B].
      label: class labels, int [B], of a class-conditional network.
      training: whether units are dropped out.
      remat: whether the backward pass computes the activations inside of each block again, to save
        memory. The weights must then be given by a `keras.StatelessScope`, as tensors.
    """
    self._require_divisible(x.shape)
    apply = _apply_and_forget if remat else _apply
    emb = self._embedding(t, label)  # [B, 4 base_channels]
    h, skips = ops.cast(x, self.compute_dtype), []
    for block in self.input_blocks:
      h = apply(block, h, emb, training)
      skips.append(h)
    h = apply(self.middle, h, emb, training)
    for block in self.output_blocks:
      h = apply(block, ops.concatenate([h, skips.pop()], axis=-1), emb, training)
    return self.out_conv(self.out_norm(ops.cast(h, "float32")))

  def compute_output_shape(
    self, x_shape: Shape, t_shape: Shape | None = None, label_shape: Shape | None = None
  ) -> Shape:
    """Returns the shape of the output for images of `x_shape`."""
    return (*x_shape[:-1], self.out_channels)

  def get_config(self) -> dict[str, Any]:
    """Returns the arguments that make this network again."""
    return {
      "name": self.name,
      "dtype": self.dtype_policy.name,
      **{option: getattr(self, option) for option in _OPTIONS},
    }

  @property
  def blocks(self) -> list[Block]:
    """Returns all blocks, in the order in which they run."""
    return [*self.input_blocks, self.middle, *self.output_blocks]

  @property
  def dropouts(self) -> list[layers.Dropout]:
    """Returns all dropout layers, in the order in which they run."""
    return [
      layer.out_dropout
      for block in self.blocks
      for layer in block
      if isinstance(layer, blocks_lib.ResBlock)
    ]

  def _build_embeddings(self) -> None:
    channels = 4 * self.base_channels
    # These layers are float32, as the timestep is.
    self.time_in = layers.dense(self.base_channels, channels, dtype="float32", name="time_in")
    self.time_out = layers.dense(channels, channels, dtype="float32", name="time_out")
    if self.num_classes:
      self.label_embedding = keras.layers.Embedding(
        self.num_classes,
        channels,
        dtype="float32",
        name="label_embedding",
        embeddings_initializer=keras.initializers.RandomNormal(stddev=1.0),
      )
      self.label_embedding.build((None,))

  def _input_blocks(self, channels_in: int) -> tuple[list[Block], list[int]]:
    """Returns the blocks on the way down, and the channels of the output of each."""
    first = layers.conv(
      channels_in, self.base_channels, 3, dtype=self.dtype_policy, name="input_0_0"
    )
    input_blocks, skip_channels = [[first]], [self.base_channels]
    for level, multiplier in enumerate(self.channel_multipliers):
      channels = self.base_channels * multiplier
      for _ in range(self.num_res_blocks):
        name = f"input_{len(input_blocks)}"
        input_blocks.append(self._stage(name, skip_channels[-1], channels, level, self.num_heads))
        skip_channels.append(channels)
      if level < len(self.channel_multipliers) - 1:
        name = f"input_{len(input_blocks)}_0"
        input_blocks.append([self._resample(layers.Downsample, name, channels)])
        skip_channels.append(channels)
    return input_blocks, skip_channels

  def _output_blocks(self, skip_channels: Sequence[int]) -> list[Block]:
    """Returns the blocks on the way up.

    Args:
      skip_channels: the channels of the output of each block on the way down.
    """
    output_blocks: list[Block] = []
    skip_channels = list(skip_channels)
    channels_in = skip_channels[-1]
    for level, multiplier in reversed(list(enumerate(self.channel_multipliers))):
      channels = self.base_channels * multiplier
      for _ in range(self.num_res_blocks + 1):
        output_blocks.append(
          self._stage(
            f"output_{len(output_blocks)}",
            channels_in + skip_channels.pop(),
            channels,
            level,
            self.num_heads_upsample or self.num_heads,
          )
        )
        channels_in = channels
      if level:
        name = f"output_{len(output_blocks) - 1}_{len(output_blocks[-1])}"
        output_blocks[-1].append(self._resample(layers.Upsample, name, channels))
    return output_blocks

  def _stage(self, name: str, channels_in: int, channels: int, level: int, num_heads: int) -> Block:
    """Returns a residual block, and an attention block if this level has attention."""
    stage = [self._res_block(f"{name}_0", channels_in, channels)]
    if 2**level in self.attention_factors:
      stage.append(self._attention(f"{name}_1", channels, num_heads))
    return stage

  def _res_block(self, name: str, channels_in: int, channels: int) -> blocks_lib.ResBlock:
    layer = blocks_lib.ResBlock(
      channels,
      scale_shift_norm=self.scale_shift_norm,
      dropout=self.dropout,
      dtype=self.dtype_policy,
      name=name,
    )
    layer.build((None, None, None, channels_in), (None, 4 * self.base_channels))
    return layer

  def _attention(self, name: str, channels: int, num_heads: int) -> blocks_lib.AttentionBlock:
    layer = blocks_lib.AttentionBlock(num_heads, dtype=self.dtype_policy, name=name)
    layer.build((None, None, None, channels))
    return layer

  def _resample(self, layer_class: type[keras.Layer], name: str, channels: int) -> keras.Layer:
    layer = layer_class(self.conv_resample, dtype=self.dtype_policy, name=name)
    layer.build((None, None, None, channels))
    return layer

  def _embedding(self, t: Tensor, label: Tensor | None) -> Tensor:
    """Returns the embedding that all residual blocks are conditioned on, [B, 4 base_channels]."""
    emb = self.time_in(layers.timestep_embedding(t, self.base_channels))
    emb = self.time_out(ops.silu(emb))
    if (label is not None) != bool(self.num_classes):
      expected = f"a class from 0 to {self.num_classes - 1} for each image"
      raise settings.InputError(
        "label",
        f"expected {expected if self.num_classes else 'none for an unconditional network'}, "
        f"received {'none' if label is None else 'labels'}",
      )
    return ops.silu(emb if label is None else emb + self.label_embedding(label))

  def _require_divisible(self, x_shape: Shape) -> None:
    factor = 2 ** (len(self.channel_multipliers) - 1)
    height, width = x_shape[1:3]
    if any(size is not None and size % factor for size in (height, width)):
      raise settings.InputError(
        "x", f"expected height and width divisible by {factor}, received {height}x{width}"
      )


def _apply(block: Block, h: Tensor, emb: Tensor, training: bool) -> Tensor:
  """Runs the layers of a block one after the other."""
  for layer in block:
    h = layer(h, emb, training=training) if isinstance(layer, blocks_lib.ResBlock) else layer(h)
  return h


def _apply_and_forget(block: Block, h: Tensor, emb: Tensor, training: bool) -> Tensor:
  """Runs the layers of a block, and keeps only its inputs in memory for the backward pass."""
  weights = [weight for layer in block for weight in layer.trainable_variables]
  seeds = [seed for layer in block for seed in layer.non_trainable_variables]

  # The weights are arguments, because the gradient is taken with respect to arguments only.
  @keras.remat
  def run(h, emb, *values):
    with keras.StatelessScope() as scope:
      for pair in zip([*weights, *seeds], [*values, *seed_values], strict=True):
        scope.add_update(pair)
      return _apply(block, h, emb, training)

  seed_values = [seed.value for seed in seeds]
  return run(h, emb, *(weight.value for weight in weights))
