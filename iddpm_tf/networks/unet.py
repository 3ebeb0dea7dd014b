"""The UNet of Appendix A: Nichol & Dhariwal (2021), arXiv:2102.09672."""

import keras
from keras import ops

from iddpm_tf import settings
from iddpm_tf.networks import blocks
from iddpm_tf.networks import layers

OPTIONS = (
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
  """What the diffusion asks of an image and its timestep, as `network(x, t, label)`.

  x [B, H, W, C], t float [B], label int [B] where `num_classes` > 0 -> float32 [B, H, W, out_channels],
  all zeros before training. The channels of `x` are those of the first build; height and width are
  any that can be halved `len(channel_multipliers) - 1` times.

  `attention_factors` are the downsampling factors at which there is self-attention, such as (2, 4).
  `num_heads_upsample=0` means `num_heads`, `num_classes=0` unconditional.
  """

  def __init__(
    self,
    *,
    base_channels,
    channel_multipliers,
    num_res_blocks,
    attention_factors,
    num_heads,
    out_channels,
    num_heads_upsample=0,
    scale_shift_norm=True,
    conv_resample=True,
    dropout=0.0,
    num_classes=0,
    dtype=None,
    name="unet",
  ):
    # No autocast of the inputs: t = 3999 is not a bfloat16.
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

  def build(self, x_shape, t_shape=None, label_shape=None):
    self._require_divisible(x_shape)
    self._build_embeddings()
    self.input_blocks, skips = self._input_blocks(x_shape[-1])
    self.middle = [
      self._res_block("middle_0", skips[-1], skips[-1]),
      self._attention("middle_1", skips[-1], self.num_heads),
      self._res_block("middle_2", skips[-1], skips[-1]),
    ]
    self.output_blocks = self._output_blocks(skips)
    # The last two layers and the output in float32: their rounding would be the image's.
    channels = self.base_channels * self.channel_multipliers[0]
    self.out_norm = layers.GroupNorm(dtype="float32", name="out_norm")
    self.out_norm.build((None, None, None, channels))
    self.out_conv = layers.conv(
      channels, self.out_channels, 3, zeros=True, dtype="float32", name="out_conv"
    )

  def call(self, x, t, label=None, training=False):
    self._require_divisible(x.shape)
    emb = self._embedding(t, label)  # [B, 4 base_channels]
    h, skips = ops.cast(x, self.compute_dtype), []
    for block in self.input_blocks:
      h = _apply(block, h, emb, training)
      skips.append(h)
    h = _apply(self.middle, h, emb, training)
    for block in self.output_blocks:
      h = _apply(block, ops.concatenate([h, skips.pop()], axis=-1), emb, training)
    return self.out_conv(ops.silu(self.out_norm(ops.cast(h, "float32"))))

  def compute_output_shape(self, x_shape, t_shape=None, label_shape=None):
    return (*x_shape[:-1], self.out_channels)

  def get_config(self):
    return {
      "name": self.name,
      "dtype": self.dtype_policy.name,
      **{option: getattr(self, option) for option in OPTIONS},
    }

  @property
  def blocks(self):
    """Every block in the order in which it runs, each a list of layers."""
    return [*self.input_blocks, self.middle, *self.output_blocks]

  @property
  def dropouts(self):
    """Every dropout layer, in the order in which it runs."""
    return [
      layer.out_dropout
      for block in self.blocks
      for layer in block
      if isinstance(layer, blocks.ResBlock)
    ]

  def _build_embeddings(self):
    channels = 4 * self.base_channels
    # In float32, as the timestep is.
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

  def _input_blocks(self, channels_in):
    """The way down, and the channels of each of its blocks."""
    network, skips = [], []

    def add(block, channels):
      network.append(block)
      skips.append(channels)

    add(
      [layers.conv(channels_in, self.base_channels, 3, dtype=self.dtype_policy, name="input_0_0")],
      self.base_channels,
    )
    for level, multiplier in enumerate(self.channel_multipliers):
      channels = self.base_channels * multiplier
      for _ in range(self.num_res_blocks):
        name = f"input_{len(network)}"
        add(self._stage(name, skips[-1], channels, level, self.num_heads), channels)
      if level < len(self.channel_multipliers) - 1:
        add([self._resample(layers.Downsample, f"input_{len(network)}_0", channels)], channels)
    return network, skips

  def _output_blocks(self, skips):
    """The way up, from the channels of the blocks of the way down."""
    network, skips = [], list(skips)
    channels_in = skips[-1]
    for level, multiplier in reversed(list(enumerate(self.channel_multipliers))):
      channels = self.base_channels * multiplier
      for _ in range(self.num_res_blocks + 1):
        network.append(
          self._stage(
            f"output_{len(network)}",
            channels_in + skips.pop(),
            channels,
            level,
            self.num_heads_upsample or self.num_heads,
          )
        )
        channels_in = channels
      if level:
        name = f"output_{len(network) - 1}_{len(network[-1])}"
        network[-1].append(self._resample(layers.Upsample, name, channels))
    return network

  def _stage(self, name, channels_in, channels, level, num_heads):
    """A residual block, and attention where there is any at this level."""
    stage = [self._res_block(f"{name}_0", channels_in, channels)]
    if 2**level in self.attention_factors:
      stage.append(self._attention(f"{name}_1", channels, num_heads))
    return stage

  def _res_block(self, name, channels_in, channels):
    layer = blocks.ResBlock(
      channels,
      scale_shift_norm=self.scale_shift_norm,
      dropout=self.dropout,
      dtype=self.dtype_policy,
      name=name,
    )
    layer.build((None, None, None, channels_in), (None, 4 * self.base_channels))
    return layer

  def _attention(self, name, channels, num_heads):
    layer = blocks.AttentionBlock(num_heads, dtype=self.dtype_policy, name=name)
    layer.build((None, None, None, channels))
    return layer

  def _resample(self, kind, name, channels):
    layer = kind(self.conv_resample, dtype=self.dtype_policy, name=name)
    layer.build((None, None, None, channels))
    return layer

  def _embedding(self, t, label):
    emb = self.time_in(layers.timestep_embedding(t, self.base_channels))
    emb = self.time_out(ops.silu(emb))
    if (label is not None) != bool(self.num_classes):
      expected = f"one of {self.num_classes} classes an image" if self.num_classes else "none"
      raise settings.InputError(
        "label", f"expected {expected}, received {'none' if label is None else 'labels'}"
      )
    return emb if label is None else emb + self.label_embedding(label)

  def _require_divisible(self, x_shape):
    factor = 2 ** (len(self.channel_multipliers) - 1)
    height, width = x_shape[1:3]
    if any(size is not None and size % factor for size in (height, width)):
      raise settings.InputError(
        "x", f"expected a height and a width that {factor} divides, received {height}x{width}"
      )


def _apply(block, h, emb, training):
  for layer in block:
    h = layer(h, emb, training=training) if isinstance(layer, blocks.ResBlock) else layer(h)
  return h
