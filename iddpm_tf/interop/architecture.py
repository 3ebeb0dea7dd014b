"""What the names and shapes of the authors' parameters tell of a network, and the other way round.

Everything but the numbers of heads and dropout. Arithmetic alone: no network is built.
"""

import dataclasses

from iddpm_tf import settings


@dataclasses.dataclass(frozen=True)
class Architecture:
  """The settings of a `NetworkConfig` as they show in shapes."""

  base_channels: int
  num_classes: int  # 0: unconditional.
  enlarges: bool  # A super-resolution network: two images are its input.
  channel_multipliers: tuple[int, ...]
  num_res_blocks: int
  attention_levels: frozenset[int]  # 0: the highest resolution.
  scale_shift_norm: bool
  conv_resample: bool
  learns_variance: bool
  image_channels: int

  def shapes(self):
    """{name: shape} of every parameter, in the authors' order."""
    base, emb = self.base_channels, 4 * self.base_channels
    widths = [int(base * multiplier) for multiplier in self.channel_multipliers]
    parameters = {**_dense("time_embed.0", base, emb), **_dense("time_embed.2", emb, emb)}
    if self.num_classes:
      parameters["label_emb.weight"] = (self.num_classes, emb)
    parameters |= _conv("input_blocks.0.0", self.image_channels * (1 + self.enlarges), base)
    skips = [base]
    for level, width in enumerate(widths):
      for _ in range(self.num_res_blocks):
        parameters |= self._stage(f"input_blocks.{len(skips)}", skips[-1], width, level)
        skips.append(width)
      if level < len(widths) - 1:
        parameters |= self._resample(f"input_blocks.{len(skips)}.0.op", width)
        skips.append(width)
    width = skips[-1]
    parameters |= {
      **self._res_block("middle_block.0", width, width),
      **_attention("middle_block.1", width),
      **self._res_block("middle_block.2", width, width),
    }
    parameters |= self._way_up(widths, skips)
    return {
      **parameters,
      **_norm("out.0", widths[0]),
      **_conv("out.2", widths[0], self.image_channels * (1 + self.learns_variance)),
    }

  def _way_up(self, widths, skips):
    parameters, width_in, i = {}, skips[-1], 0
    for level, width in reversed(list(enumerate(widths))):
      for _ in range(self.num_res_blocks + 1):
        parameters |= self._stage(f"output_blocks.{i}", width_in + skips.pop(), width, level)
        width_in, i = width, i + 1
      if level:
        position = 1 + (level in self.attention_levels)
        parameters |= self._resample(f"output_blocks.{i - 1}.{position}.conv", width)
    return parameters

  def _stage(self, name, width_in, width, level):
    attention = _attention(f"{name}.1", width) if level in self.attention_levels else {}
    return {**self._res_block(f"{name}.0", width_in, width), **attention}

  def _res_block(self, name, width_in, width):
    return {
      **_norm(f"{name}.in_layers.0", width_in),
      **_conv(f"{name}.in_layers.2", width_in, width),
      **_dense(f"{name}.emb_layers.1", 4 * self.base_channels, width * (1 + self.scale_shift_norm)),
      **_norm(f"{name}.out_layers.0", width),
      **_conv(f"{name}.out_layers.3", width, width),
      **(_conv(f"{name}.skip_connection", width_in, width, 1) if width_in != width else {}),
    }

  def _resample(self, name, width):
    return _conv(name, width, width) if self.conv_resample else {}


def infer(shapes):
  """The `Architecture` of {name: shape}.

  It accounts for every parameter of a state dict of the authors' code; where it does not, compare its
  `shapes()`.

  Raises:
    ValueError: they are no UNet's.
  """
  base, channels_in, *_ = _shape(shapes, "input_blocks.0.0.weight", 4)
  levels = _levels(shapes)
  image_channels, enlarges, learns_variance = _image(channels_in, _outputs(shapes, "out.2"))
  widths = [level[0].width for level in levels]
  return Architecture(
    base_channels=base,
    num_classes=_shape(shapes, "label_emb.weight", 2)[0] if "label_emb.weight" in shapes else 0,
    enlarges=enlarges,
    channel_multipliers=tuple(width / base if width % base else width // base for width in widths),
    num_res_blocks=len(levels[0]),
    attention_levels=frozenset(i for i, level in enumerate(levels) if level[0].attends),
    scale_shift_norm=levels[0][0].conditioning == 2 * widths[0],
    conv_resample=any(_part(name, 3) in ("op", "conv") for name in shapes),
    learns_variance=learns_variance,
    image_channels=image_channels,
  )


def authors_order(name):
  """A key that sorts names of parameters as the authors' state dicts have them."""
  return [
    (0, int(part)) if part.isdigit() else (_RANKS.get(part, len(_RANKS)), part)
    for part in name.split(".")
  ]


_PARTS = (
  "time_embed",
  "label_emb",
  "input_blocks",
  "middle_block",
  "output_blocks",
  "out",
  "in_layers",
  "emb_layers",
  "out_layers",
  "skip_connection",
  "norm",
  "qkv",
  "proj_out",
  "op",
  "conv",
  "weight",
  "bias",
)
_RANKS = {part: rank for rank, part in enumerate(_PARTS)}


@dataclasses.dataclass(frozen=True)
class _Block:
  """A residual block on the way down, and what comes with it."""

  width: int
  conditioning: int
  attends: bool


def _levels(shapes):
  """The residual blocks of each level of the way down."""
  kinds = {}  # The number of a block to what its first layer has.
  for name in shapes:
    if _part(name, 0) == "input_blocks" and _part(name, 1).isdigit():
      kinds.setdefault(int(_part(name, 1)), set()).add(_part(name, 3))
  # A resampling without parameters leaves a gap, but never two together.
  if max(kinds) > 2 * len(kinds):
    raise settings.InputError(
      "state_dict",
      f"expected a UNet of the authors, with input_blocks one after the other, received "
      f"{len(kinds)} of them and number {max(kinds)}",
    )
  levels = [[]]
  for i in range(1, max(kinds) + 1):
    if kinds.get(i, set()).isdisjoint(("in_layers", "emb_layers", "out_layers")):
      levels.append([])  # A downsampling, which may have no parameters.
    else:
      block = f"input_blocks.{i}"
      levels[-1].append(
        _Block(
          width=_outputs(shapes, f"{block}.0.out_layers.3"),
          conditioning=_outputs(shapes, f"{block}.0.emb_layers.1"),
          attends=any(f"{block}.1.{part}.weight" in shapes for part in ("norm", "qkv", "proj_out")),
        )
      )
  if not all(levels):
    raise settings.InputError(
      "state_dict",
      "expected a UNet of the authors, with residual blocks at every resolution, received "
      f"{', '.join(str(len(level)) for level in levels)} of them",
    )
  return levels


def _image(channels_in, channels_out):
  """(channels of the image, whether there are two in the input, whether the variance is in the output)."""
  found = [
    (channels_in // images, images == 2, parts == 2)
    for images in (1, 2)
    for parts in (1, 2)
    if channels_in * parts == channels_out * images and channels_in % images == 0
  ]
  if not found:
    raise settings.InputError(
      "state_dict",
      "expected a UNet of the authors, with as many channels in as out, or twice as many in "
      f"one of them, received {channels_in} and {channels_out}",
    )
  # As many in as out may be images and no variance, or pairs of images and a variance: grey or RGB it is.
  return min(found, key=lambda option: option[0] not in (1, 3))


def _outputs(shapes, name):
  """The channels that a layer puts out."""
  # Either tells: one that is missing is for the comparison to find.
  shape = shapes.get(f"{name}.bias") or _shape(shapes, f"{name}.weight")
  return shape[0]


def _shape(shapes, name, rank=None):
  shape = shapes.get(name)
  if not shape or 0 in shape or len(shape) != (rank or len(shape)):
    raise settings.InputError(
      "state_dict",
      f"expected a UNet of the authors, with {name}, received "
      f"{'no such parameter' if shape is None else f'it in the shape {shape}'}",
    )
  return shape


def _part(name, i):
  parts = name.split(".")
  return parts[i] if i < len(parts) else ""


def _norm(name, width):
  return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _dense(name, width_in, width):
  return {f"{name}.weight": (width, width_in), f"{name}.bias": (width,)}


def _conv(name, width_in, width, size=3):
  return {f"{name}.weight": (width, width_in, size, size), f"{name}.bias": (width,)}


def _attention(name, width):
  return {
    **_norm(f"{name}.norm", width),
    f"{name}.qkv.weight": (3 * width, width, 1),
    f"{name}.qkv.bias": (3 * width,),
    f"{name}.proj_out.weight": (width, width, 1),
    f"{name}.proj_out.bias": (width,),
  }
