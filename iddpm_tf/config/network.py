"""The settings of the network."""

import dataclasses
import math

from iddpm_tf import settings

# How a noisy classifier's last activations become values of classes.
POOLS = ("adaptive", "attention", "spatial", "spatial_v2")


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
  """The UNet of Appendix A, or the noisy classifier of Dhariwal & Nichol (2021).

  The defaults, here and in the other sections, train the embedded digits in minutes.
  """

  base_channels: int = settings.setting(32, "channels at the highest resolution (C in Appendix A)")
  channel_multipliers: tuple[float, ...] = settings.setting(
    (1, 2),
    "channels of each level in units of base_channels, highest resolution first, such as 0.5,1,2",
  )
  num_res_blocks: int = settings.setting(
    1, "residual blocks per level on the way down; there is one more on the way up"
  )
  attention_resolutions: tuple[int, ...] = settings.setting(
    (4,), "image heights in pixels at which there is self-attention"
  )
  num_heads: int = settings.setting(4, "attention heads")
  num_heads_upsample: int = settings.setting(0, "attention heads on the way up; 0 means num_heads")
  num_head_channels: int = settings.setting(
    0,
    "channels of each attention head, whose number then depends on the level; 0 means that "
    "num_heads counts",
    since=8,
  )
  attention_order: str = settings.setting(
    "interleaved",
    "order of the channels of queries, keys and values; interleaved: those of the first head, then "
    "those of the second; split: all queries, then all keys, then all values",
    choices=("interleaved", "split"),
    since=8,
  )
  scale_shift_norm: bool = settings.setting(
    True, "condition by GroupNorm(h)(w + 1) + b; otherwise by GroupNorm(h + v)"
  )
  conv_resample: bool = settings.setting(
    True, "learned down- and upsampling; otherwise average pooling and nearest neighbours"
  )
  resblock_updown: bool = settings.setting(
    False,
    "residual blocks halve and double the resolution, in place of what conv_resample says",
    since=8,
  )
  scaled_first_conv: bool = settings.setting(
    False,
    "the first convolution has as many channels as the first level; otherwise base_channels; the "
    "same where channel_multipliers begins with 1",
    since=8,
  )
  dropout: float = settings.setting(0.0, "dropout rate in the residual blocks")
  class_conditional: bool = settings.setting(False, "condition on the class labels of the data")
  label_dropout: float = settings.setting(
    0.0,
    "share of the training images whose label is hidden, such as 0.1, so that guidance_scale can "
    "strengthen the class in sampling; requires class_conditional",
    since=8,
  )
  low_res_size: int = settings.setting(
    0,
    "height of the smaller image that a super-resolution network enlarges (Appendix C); 0 means "
    "that the network draws from noise alone",
    since=2,
  )
  pool: str = settings.setting(
    "none",
    "how a noisy classifier's last activations become values of classes; adaptive: their mean; "
    "attention: attention of their mean to all of them; spatial and spatial_v2: the means of all "
    "blocks in two more layers; none: the network is a diffusion model's",
    choices=("none", *POOLS),
    since=8,
  )
  precision: str = settings.setting(
    "float32",
    "arithmetic of the network; weights are always float32; mixed_float16, with a loss scale, is "
    "for GPUs without bfloat16",
    choices=("float32", "mixed_bfloat16", "mixed_float16"),
    changeable=True,
  )

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    settings.convert(self)
    settings.require_choices(self)
    settings.require_positive(self, "base_channels", "num_res_blocks", "num_heads")
    settings.require_not_negative(self, "num_heads_upsample", "num_head_channels", "low_res_size")
    settings.require(0 <= self.dropout < 1, "dropout", "a rate in [0, 1)", self.dropout)
    settings.require(
      0 <= self.label_dropout < 1, "label_dropout", "a share in [0, 1)", self.label_dropout
    )
    settings.require(
      self.class_conditional or not self.label_dropout,
      "label_dropout",
      "0 for a model without classes (class_conditional=False)",
      self.label_dropout,
    )
    settings.require(
      self.channel_multipliers and all(0 < m < math.inf for m in self.channel_multipliers),
      "channel_multipliers",
      "one positive number or more",
      self.channel_multipliers,
    )
    # Whole numbers are shown without a point.
    multipliers = tuple(int(m) if m == int(m) else m for m in self.channel_multipliers)
    object.__setattr__(self, "channel_multipliers", multipliers)
    settings.require(
      self.scaled_first_conv or self.base_channels % 32 == 0,
      "base_channels",
      "a multiple of 32, because group normalisation has 32 groups",
      self.base_channels,
    )
    settings.require(
      all(width and width % 32 == 0 for width in self.widths),
      "channel_multipliers",
      f"multiples of 32 channels at every level, because group normalisation has 32 groups, where "
      f"base_channels={self.base_channels}",
      self.channel_multipliers,
    )
    if self.num_head_channels:
      self.require_heads(self.widths[-1])  # There is always attention in the middle.
      return
    for name in ("num_heads", "num_heads_upsample"):
      heads = getattr(self, name) or 1
      settings.require(
        all(width % heads == 0 for width in self.widths),
        name,
        "a divisor of the channels of every level",
        heads,
      )

  def require_heads(self, width: int) -> None:
    """Raises an `InputError` if attention heads do not divide the channels of a level."""
    settings.require(
      not self.num_head_channels or width % self.num_head_channels == 0,
      "num_head_channels",
      f"a divisor of the {width} channels of a level with attention",
      self.num_head_channels,
    )

  @property
  def widths(self) -> tuple[int, ...]:
    """The channels of each level, highest resolution first."""
    return tuple(int(self.base_channels * m) for m in self.channel_multipliers)

  @property
  def depth(self) -> int:
    """The number of times that the image is halved."""
    return len(self.channel_multipliers) - 1
