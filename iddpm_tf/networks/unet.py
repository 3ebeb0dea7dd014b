"""The UNet of Appendix A of Nichol & Dhariwal (2021), arXiv:2102.09672."""

from collections.abc import Sequence

import keras
from keras import ops

from iddpm_tf import settings
from iddpm_tf.networks import encoder
from iddpm_tf.networks import layers
from iddpm_tf.networks.annotations import DType
from iddpm_tf.networks.annotations import Shape
from iddpm_tf.networks.annotations import Tensor


class UNet(encoder.Encoder):
  """A UNet conditioned on timesteps and, optionally, on class labels: `network(x, t, label)`.

  x [B, H, W, C], t float [B], label int [B] -> float32 [B, H, W, out_channels]. The output is zero
  before training. The number of channels of `x` is that of the first build. Height and width may
  change between calls, and must be divisible by 2^(len(channel_multipliers) - 1).
  """

  options = (
    *encoder.Encoder.options,
    "num_heads_upsample",
    "num_classes",
    "optional_labels",
    "out_channels",
  )

  def __init__(
    self,
    *,
    base_channels: int,
    channel_multipliers: Sequence[float],
    num_res_blocks: int,
    attention_factors: Sequence[int],
    num_heads: int,
    out_channels: int,
    num_heads_upsample: int = 0,
    num_head_channels: int = 0,
    attention_order: str = "interleaved",
    scale_shift_norm: bool = True,
    conv_resample: bool = True,
    resblock_updown: bool = False,
    scaled_first_conv: bool = False,
    dropout: float = 0.0,
    num_classes: int = 0,
    optional_labels: bool = False,
    dtype: DType = None,
    name: str = "unet",
  ):
    """Makes an unbuilt network.

    Args:
      base_channels: the unit of the channels.
      channel_multipliers: channels of each level, in units of `base_channels`, highest resolution
        first. Products are rounded down.
      num_res_blocks: residual blocks per level on the way down. There is one more on the way up.
      attention_factors: the downsampling factors at which there is self-attention, such as (2, 4).
      num_heads: attention heads.
      out_channels: channels of the output.
      num_heads_upsample: attention heads on the way up. 0 means `num_heads`.
      num_head_channels: channels of each attention head, on both ways. 0 means that `num_heads`
        counts.
      attention_order: the order of the channels of queries, keys and values; see
        `blocks.AttentionBlock`.
      scale_shift_norm: how residual blocks are conditioned, see `blocks.ResBlock`.
      conv_resample: whether down- and upsampling have a convolution.
      resblock_updown: whether residual blocks resample, in place of convolutions.
      scaled_first_conv: whether the first convolution has as many channels as the first level.
        Otherwise it has `base_channels`.
      dropout: dropout rate in the residual blocks.
      num_classes: number of classes. 0 means an unconditional network.
      optional_labels: whether the label `num_classes` means no class. It adds nothing to the
        timestep's embedding.
      dtype: type or policy of the layers. The embeddings and the last layers are float32 always.
      name: name of the network.
    """
    super().__init__(
      base_channels=base_channels,
      channel_multipliers=channel_multipliers,
      num_res_blocks=num_res_blocks,
      attention_factors=attention_factors,
      num_heads=num_heads,
      num_head_channels=num_head_channels,
      attention_order=attention_order,
      scale_shift_norm=scale_shift_norm,
      conv_resample=conv_resample,
      resblock_updown=resblock_updown,
      scaled_first_conv=scaled_first_conv,
      dropout=dropout,
      dtype=dtype,
      name=name,
    )
    self.num_heads_upsample = num_heads_upsample
    self.num_classes = num_classes
    self.optional_labels = optional_labels
    self.out_channels = out_channels

  def build(
    self, x_shape: Shape, t_shape: Shape | None = None, label_shape: Shape | None = None
  ) -> None:
    """Creates the layers for images of `x_shape`."""
    self._require_divisible(x_shape)
    self._build_embeddings()
    skip_channels = self._build_encoder(x_shape[-1])
    self.output_blocks = self._output_blocks(skip_channels)
    # The last two layers are float32, because their rounding errors would be seen in the image.
    channels = self.widths()[0]
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
    apply = encoder.apply_and_forget if remat else encoder.apply
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

  @property
  def blocks(self) -> list[encoder.Block]:
    """Returns all blocks, in the order in which they run."""
    return [*super().blocks, *self.output_blocks]

  def _build_embeddings(self) -> None:
    self._build_time_embedding()
    if self.num_classes:
      self.label_embedding = keras.layers.Embedding(
        self.num_classes,
        4 * self.base_channels,
        dtype="float32",
        name="label_embedding",
        embeddings_initializer=keras.initializers.RandomNormal(stddev=1.0),
      )
      self.label_embedding.build((None,))

  def _output_blocks(self, skip_channels: Sequence[int]) -> list[encoder.Block]:
    """Returns the blocks on the way up.

    Args:
      skip_channels: the channels of the output of each block on the way down.
    """
    output_blocks: list[encoder.Block] = []
    skip_channels = list(skip_channels)
    channels_in = skip_channels[-1]
    for level, channels in reversed(list(enumerate(self.widths()))):
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
        output_blocks[-1].append(self._resample("up", name, channels))
    return output_blocks

  def _embedding(self, t: Tensor, label: Tensor | None) -> Tensor:
    """Returns the embedding that all residual blocks are conditioned on, [B, 4 base_channels]."""
    emb = self._time_embedding(t)
    if (label is not None) != bool(self.num_classes):
      expected = f"a class from 0 to {self.num_classes - 1} for each image"
      raise settings.InputError(
        "label",
        f"expected {expected if self.num_classes else 'none for an unconditional network'}, "
        f"received {'none' if label is None else 'labels'}",
      )
    if label is None:
      return ops.silu(emb)
    if not self.optional_labels:
      return ops.silu(emb + self.label_embedding(label))
    known = ops.cast(label < self.num_classes, "float32")[:, None]  # [B, 1]
    classes = ops.minimum(label, self.num_classes - 1)
    return ops.silu(emb + known * self.label_embedding(classes))
