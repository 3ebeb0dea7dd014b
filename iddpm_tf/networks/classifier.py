"""The noisy classifier of Dhariwal & Nichol (2021), arXiv:2105.05233, whose gradients guide."""

from collections.abc import Sequence

import keras
from keras import ops

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.networks import encoder
from iddpm_tf.networks import pooling
from iddpm_tf.networks.annotations import DType
from iddpm_tf.networks.annotations import Shape
from iddpm_tf.networks.annotations import Tensor


class NoisyClassifier(encoder.Encoder):
  """A classifier of noisy images: `network(x, t)` returns the logits of the classes.

  x [B, H, W, C], t float [B] -> float32 [B, num_classes]. The network is the way down and the
  middle of a `UNet`, and a head. The number of channels of `x` is that of the first build, and so
  are height and width if `pool` is `attention`.
  """

  options = (*encoder.Encoder.options, "num_classes", "pool")

  def __init__(
    self,
    *,
    base_channels: int,
    channel_multipliers: Sequence[float],
    num_res_blocks: int,
    attention_factors: Sequence[int],
    num_heads: int,
    num_classes: int,
    pool: str,
    num_head_channels: int = 0,
    attention_order: str = "interleaved",
    scale_shift_norm: bool = True,
    conv_resample: bool = True,
    resblock_updown: bool = False,
    scaled_first_conv: bool = False,
    dropout: float = 0.0,
    dtype: DType = None,
    name: str = "classifier",
  ):
    """Makes an unbuilt network.

    Args:
      base_channels: the unit of the channels.
      channel_multipliers: channels of each level, in units of `base_channels`, highest resolution
        first. Products are rounded down.
      num_res_blocks: residual blocks per level.
      attention_factors: the downsampling factors at which there is self-attention, such as (2, 4).
      num_heads: attention heads.
      num_classes: number of classes.
      pool: the head. adaptive: the mean over all positions; attention: attention of the mean to all
        positions; spatial and spatial_v2: the means of all blocks' activations, and two dense
        layers with relu, or with group normalization and silu, between them.
      num_head_channels: channels of each attention head, also of the head `attention`. 0 means
        that `num_heads` counts.
      attention_order: the order of the channels of queries, keys and values; see
        `blocks.AttentionBlock`. It is always `split` in the head.
      scale_shift_norm: how residual blocks are conditioned, see `blocks.ResBlock`.
      conv_resample: whether downsampling has a convolution.
      resblock_updown: whether residual blocks resample, in place of convolutions.
      scaled_first_conv: whether the first convolution has as many channels as the first level.
        Otherwise it has `base_channels`.
      dropout: dropout rate in the residual blocks.
      dtype: type or policy of the layers. The embeddings and the head are float32 always.
      name: name of the network.

    Raises:
      InputError: there is no such head.
    """
    settings.require(
      pool in config_lib.POOLS, "pool", f"one of {', '.join(config_lib.POOLS)}", pool
    )
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
    self.num_classes = num_classes
    self.pool = pool

  def build(self, x_shape: Shape, t_shape: Shape | None = None) -> None:
    """Creates the layers for images of `x_shape`."""
    self._require_divisible(x_shape)
    self._build_time_embedding()
    skip_channels = self._build_encoder(x_shape[-1])
    self.head = self._head(skip_channels, x_shape)

  def call(self, x: Tensor, t: Tensor, training: bool = False, *, remat: bool = False) -> Tensor:
    """Returns the logits of the classes, float32 [B, num_classes].

    Args:
      x: noisy images, float [B, H, W, C].
      t: timesteps, float [B].
      training: whether units are dropped out.
      remat: see `UNet.call`.
    """
    self._require_divisible(x.shape)
    apply = encoder.apply_and_forget if remat else encoder.apply
    emb = ops.silu(self._time_embedding(t))  # [B, 4 base_channels]
    h, means = ops.cast(x, self.compute_dtype), []
    for block in self.blocks:
      h = apply(block, h, emb, training)
      if self._pools_means:
        means.append(ops.mean(ops.cast(h, "float32"), axis=(1, 2)))  # [B, C]
    return self.head(ops.concatenate(means, axis=-1) if means else ops.cast(h, "float32"))

  def compute_output_shape(self, x_shape: Shape, t_shape: Shape | None = None) -> Shape:
    """Returns the shape of the output for images of `x_shape`."""
    return (x_shape[0], self.num_classes)

  def _head(self, skip_channels: Sequence[int], x_shape: Shape) -> keras.Layer:
    """Returns the last layer.

    Args:
      skip_channels: the channels of the output of each block on the way down.
      x_shape: the shape of the images.
    """
    channels, name = skip_channels[-1], "out_head"
    if self._pools_means:
      normalized = self.pool == "spatial_v2"
      head = pooling.MeansHead(self.num_classes, normalized=normalized, name=name)
      head.build((None, sum(skip_channels) + channels))  # The last are those of the middle.
      return head
    if self.pool == "attention":
      heads = self._heads(channels, self.num_heads)
      head = pooling.AttentionHead(self.num_classes, heads, name=name)
    else:
      head = pooling.MeanHead(self.num_classes, name=name)
    factor = 2 ** (len(self.channel_multipliers) - 1)
    height, width = (size and size // factor for size in x_shape[1:3])
    head.build((None, height, width, channels))
    return head

  @property
  def _pools_means(self) -> bool:
    return self.pool.startswith("spatial")
