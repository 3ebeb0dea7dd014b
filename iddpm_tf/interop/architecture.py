"""What the names and shapes of the authors' parameters tell about a network, and the reverse.

Names and shapes tell everything about a network except the numbers of attention heads, the order of
their channels and the dropout rate. Only arithmetic is done here, and no network is built.

Both code bases of the authors are covered: improved-diffusion (Nichol & Dhariwal, 2021) and
guided-diffusion (Dhariwal & Nichol, 2021).
"""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math

from iddpm_tf import settings

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

UNKNOWN = -1  # An unknown number of classes.


@dataclasses.dataclass(frozen=True)
class Architecture:
  """The settings of a network that the shapes of its parameters show.

  Attributes:
    base_channels: the unit of the channels.
    num_classes: number of classes that a UNet is conditioned on, 0 for an unconditional network, or
      `UNKNOWN`; or the number of classes that a classifier tells apart.
    enlarges: whether it is a super-resolution network, whose input is two images.
    channel_multipliers: channels of each level, in units of `base_channels`.
    num_res_blocks: residual blocks per level on the way down.
    attention_levels: levels with attention. Level 0 has the highest resolution.
    scale_shift_norm: whether the conditioning has a scale and a shift.
    conv_resample: whether down- and upsampling have a convolution.
    learns_variance: whether the output holds values of the variance.
    image_channels: channels of the images.
    resblock_updown: whether residual blocks resample.
    scaled_first_conv: whether the first convolution has the channels of the first level, which are
      not `base_channels`.
    pool: the head of a classifier; "none" for a UNet.
    pool_positions: the positions that the head "attention" attends to, 0 for other networks.
  """

  base_channels: int
  num_classes: int
  enlarges: bool
  channel_multipliers: tuple[float, ...]
  num_res_blocks: int
  attention_levels: frozenset[int]
  scale_shift_norm: bool
  conv_resample: bool
  learns_variance: bool
  image_channels: int
  resblock_updown: bool = False
  scaled_first_conv: bool = False
  pool: str = "none"
  pool_positions: int = 0

  @property
  def is_classifier(self) -> bool:
    """Whether the network is a classifier, not a UNet."""
    return self.pool != "none"

  def shapes(self) -> dict[str, Shape]:
    """Returns the shape of each parameter by its name, in the authors' order."""
    base, emb = self.base_channels, 4 * self.base_channels
    widths = [int(base * multiplier) for multiplier in self.channel_multipliers]
    parameters = {**_dense("time_embed.0", base, emb), **_dense("time_embed.2", emb, emb)}
    if self.num_classes and not self.is_classifier:
      parameters["label_emb.weight"] = (self.num_classes, emb)
    first = widths[0] if self.scaled_first_conv else base
    parameters |= _conv("input_blocks.0.0", self.image_channels * (1 + self.enlarges), first)
    skips = [first]
    for level, width in enumerate(widths):
      for _ in range(self.num_res_blocks):
        parameters |= self._stage(f"input_blocks.{len(skips)}", skips[-1], width, level)
        skips.append(width)
      if level < len(widths) - 1:
        parameters |= self._resample(f"input_blocks.{len(skips)}.0", "op", width)
        skips.append(width)
    width = skips[-1]
    parameters |= {
      **self._res_block("middle_block.0", width, width),
      **_attention("middle_block.1", width),
      **self._res_block("middle_block.2", width, width),
    }
    if self.is_classifier:
      return {**parameters, **self._head(skips)}
    parameters |= self._way_up(widths, skips)
    return {
      **parameters,
      **_norm("out.0", widths[0]),
      **_conv("out.2", widths[0], self.image_channels * (1 + self.learns_variance)),
    }

  def _way_up(self, widths: list[int], skips: list[int]) -> dict[str, Shape]:
    """Returns the shapes of the parameters on the way up."""
    parameters: dict[str, Shape] = {}
    width_in, i = skips[-1], 0
    for level, width in reversed(list(enumerate(widths))):
      for _ in range(self.num_res_blocks + 1):
        parameters |= self._stage(f"output_blocks.{i}", width_in + skips.pop(), width, level)
        width_in, i = width, i + 1
      if level:
        position = 1 + (level in self.attention_levels)
        parameters |= self._resample(f"output_blocks.{i - 1}.{position}", "conv", width)
    return parameters

  def _head(self, skips: Sequence[int]) -> dict[str, Shape]:
    """Returns the shapes of the parameters of a classifier's head."""
    width, classes, hidden = skips[-1], self.num_classes, _HIDDEN
    match self.pool:
      case "adaptive":
        return {**_norm("out.0", width), **_conv("out.3", width, classes, 1)}
      case "attention":
        return {
          **_norm("out.0", width),
          "out.2.positional_embedding": (width, self.pool_positions),
          **_conv1d("out.2.qkv_proj", width, 3 * width),
          **_conv1d("out.2.c_proj", width, classes),
        }
      case "spatial":
        first = _dense("out.0", sum(skips) + width, hidden)
        return {**first, **_dense("out.2", hidden, classes)}
      case _:
        first = _dense("out.0", sum(skips) + width, hidden)
        return {**first, **_norm("out.1", hidden), **_dense("out.3", hidden, classes)}

  def _stage(self, name: str, width_in: int, width: int, level: int) -> dict[str, Shape]:
    attention = _attention(f"{name}.1", width) if level in self.attention_levels else {}
    return {**self._res_block(f"{name}.0", width_in, width), **attention}

  def _res_block(self, name: str, width_in: int, width: int) -> dict[str, Shape]:
    return {
      **_norm(f"{name}.in_layers.0", width_in),
      **_conv(f"{name}.in_layers.2", width_in, width),
      **_dense(f"{name}.emb_layers.1", 4 * self.base_channels, width * (1 + self.scale_shift_norm)),
      **_norm(f"{name}.out_layers.0", width),
      **_conv(f"{name}.out_layers.3", width, width),
      **(_conv(f"{name}.skip_connection", width_in, width, 1) if width_in != width else {}),
    }

  def _resample(self, name: str, convolution: str, width: int) -> dict[str, Shape]:
    if self.resblock_updown:
      return self._res_block(name, width, width)
    return _conv(f"{name}.{convolution}", width, width) if self.conv_resample else {}


def infer(shapes: Shapes) -> Architecture:
  """Returns the architecture that fits the shapes of a state dict best.

  The architecture accounts for every parameter of a checkpoint of the authors' code. The shapes of
  a damaged checkpoint differ from `shapes()` of the result.

  Where residual blocks resample, more than one architecture may have these shapes; the one with the
  fewest levels is returned.

  Args:
    shapes: the shape of each parameter by its name.

  Raises:
    InputError: the parameters, `state_dict`, are not those of a UNet or a classifier.
  """
  first, channels_in, *_ = _shape(shapes, "input_blocks.0.0.weight", 4)
  candidates = [
    _architecture(shapes, first, channels_in, levels, updown) for levels, updown in _levels(shapes)
  ]
  if len(candidates) == 1:
    return candidates[0]
  return min(candidates, key=lambda candidate: len(_differences(candidate.shapes(), shapes)))


def _architecture(
  shapes: Shapes, first: int, channels_in: int, levels: "list[list[_Block]]", updown: bool
) -> Architecture:
  """Returns the architecture of a state dict whose residual blocks are known.

  Args:
    shapes: the shape of each parameter by its name.
    first: channels of the first convolution.
    channels_in: channels of its input.
    levels: the residual blocks of each level on the way down.
    updown: whether residual blocks resample.
  """
  base = _base(shapes, first)
  pool, positions = _pool(shapes)
  widths = [level[0].width for level in levels]
  if pool != "none":
    num_classes, image = _outputs(shapes, _LAST_LAYERS[pool]), (channels_in, False, False)
  else:
    num_classes = _shape(shapes, "label_emb.weight", 2)[0] if "label_emb.weight" in shapes else 0
    image = _image(channels_in, _outputs(shapes, "out.2"))
  image_channels, enlarges, learns_variance = image
  return Architecture(
    base_channels=base,
    num_classes=num_classes,
    enlarges=enlarges,
    channel_multipliers=tuple(_multiplier(width, base) for width in widths),
    num_res_blocks=len(levels[0]),
    attention_levels=frozenset(i for i, level in enumerate(levels) if level[0].attends),
    scale_shift_norm=levels[0][0].conditioning == 2 * widths[0],
    conv_resample=updown or any(_part(name, 3) in ("op", "conv") for name in shapes),
    learns_variance=learns_variance,
    image_channels=image_channels,
    resblock_updown=updown,
    scaled_first_conv=first == widths[0] and first != base,
    pool=pool,
    pool_positions=positions,
  )


def first_difference(expected: Shapes, received: Shapes) -> str | None:
  """Returns the name of the first parameter that differs, in the authors' order.

  Returns None if there is no difference.
  """
  return min(_differences(expected, received), key=authors_order, default=None)


def describe_difference(name: str, expected: Shapes, received: Shapes) -> str:
  """Returns "expected ..., received ..." for a parameter that differs."""
  if name not in expected:
    return f"expected no parameter {name}, received one of shape {_shown(received[name])}"
  if name not in received:
    return f"expected {name} of shape {_shown(expected[name])}, received no such parameter"
  return (
    f"expected {name} of shape {_shown(expected[name])}, received shape {_shown(received[name])}"
  )


def authors_order(name: str) -> list[tuple[int, int | str]]:
  """Returns a key that sorts the names of parameters as the authors' state dicts have them."""
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
  "positional_embedding",
  "qkv_proj",
  "c_proj",
  "op",
  "conv",
  "weight",
  "bias",
)
_HIDDEN = 2048  # Units of the hidden layer of the heads "spatial" and "spatial_v2".
# The last layer of each head of a classifier.
_LAST_LAYERS = {
  "adaptive": "out.3",
  "attention": "out.2.c_proj",
  "spatial": "out.2",
  "spatial_v2": "out.3",
}
_RANKS = {part: rank for rank, part in enumerate(_PARTS)}


@dataclasses.dataclass(frozen=True)
class _Block:
  """A residual block on the way down.

  Attributes:
    width: channels of its output.
    conditioning: channels of its conditioning.
    attends: whether attention follows.
  """

  width: int
  conditioning: int
  attends: bool


def _differences(expected: Shapes, received: Shapes) -> list[str]:
  """Returns the names of all parameters that differ."""
  names = expected.keys() | received.keys()
  return [name for name in names if expected.get(name) != received.get(name)]


def _levels(shapes: Shapes) -> "Iterator[tuple[list[list[_Block]], bool]]":
  """Yields the ways to read the blocks on the way down.

  Yields:
    The residual blocks of each level, without those that resample, and whether there are such.
  """
  blocks = _input_blocks(shapes)
  if None in blocks or not blocks:
    yield _split_at_gaps(blocks), False
    return
  residual = [block for block in blocks if block is not None]
  yield [residual], False
  # Blocks that resample look like others: L levels of n blocks are L n blocks, and L - 1 between.
  for count in range(2, len(residual) // 2 + 2):
    if (len(residual) + 1) % count == 0:
      stride = (len(residual) + 1) // count
      if stride > 1:
        starts = range(0, len(residual), stride)
        yield [residual[start : start + stride - 1] for start in starts], True


def _input_blocks(shapes: Shapes) -> "list[_Block | None]":
  """Returns the blocks after the first convolution; None for one without residual blocks."""
  kinds: dict[int, set[str]] = {}  # The number of a block to the names in its first layer.
  for name in shapes:
    if _part(name, 0) == "input_blocks" and _part(name, 1).isdigit():
      kinds.setdefault(int(_part(name, 1)), set()).add(_part(name, 3))
  # Resampling without a convolution leaves a number out, but never two in a row.
  if max(kinds) > 2 * len(kinds):
    raise settings.InputError(
      "state_dict",
      "expected a UNet of the authors, whose input_blocks have consecutive numbers, received "
      f"{len(kinds)} of them with numbers up to {max(kinds)}",
    )
  blocks: list[_Block | None] = []
  for i in range(1, max(kinds) + 1):
    if kinds.get(i, set()).isdisjoint(("in_layers", "emb_layers", "out_layers")):
      blocks.append(None)  # Downsampling, which has no parameters without a convolution.
    else:
      block = f"input_blocks.{i}"
      blocks.append(
        _Block(
          width=_outputs(shapes, f"{block}.0.out_layers.3"),
          conditioning=_outputs(shapes, f"{block}.0.emb_layers.1"),
          attends=any(f"{block}.1.{part}.weight" in shapes for part in ("norm", "qkv", "proj_out")),
        )
      )
  return blocks


def _split_at_gaps(blocks: "Sequence[_Block | None]") -> "list[list[_Block]]":
  """Returns the residual blocks of each level."""
  levels: list[list[_Block]] = [[]]
  for block in blocks:
    if block is None:
      levels.append([])
    else:
      levels[-1].append(block)
  if not all(levels):
    raise settings.InputError(
      "state_dict",
      "expected a UNet of the authors, which has residual blocks at every resolution, received "
      f"{', '.join(str(len(level)) for level in levels)} of them",
    )
  return levels


def _base(shapes: Shapes, first: int) -> int:
  """Returns the unit of the channels.

  Args:
    shapes: the shapes of the state dict.
    first: channels of the first convolution, which are the unit in networks without
      `scaled_first_conv`, and where the embedding of timesteps is damaged.
  """
  shape = shapes.get("time_embed.0.weight", ())
  return shape[1] if len(shape) == 2 and shape[0] == 4 * shape[1] > 0 else first


def _multiplier(width: int, base: int) -> float:
  """Returns the number whose product with `base`, rounded down, is `width`."""
  if width % base == 0:
    return width // base
  multiplier = width / base
  return multiplier if int(base * multiplier) == width else math.nextafter(multiplier, math.inf)


def _pool(shapes: Shapes) -> tuple[str, int]:
  """Returns the head of a classifier, or "none", and the positions that it attends to."""
  if any(name.startswith(("output_blocks.", "label_emb.")) for name in shapes):
    return "none", 0
  if "out.2.positional_embedding" in shapes:
    return "attention", _shape(shapes, "out.2.positional_embedding", 2)[1]
  ranks = {name: len(shape) for name, shape in shapes.items()}
  match ranks.get("out.2.weight"), ranks.get("out.3.weight"):
    case 2, None:
      return "spatial", 0
    case None, 2:
      return "spatial_v2", 0
    case None, 4:
      return "adaptive", 0
  return "none", 0


def _image(channels_in: int, channels_out: int) -> tuple[int, bool, bool]:
  """Returns the channels of an image, and whether the network enlarges, and learns variances.

  Args:
    channels_in: channels of the network's input, which is one image or two.
    channels_out: channels of the network's output, which is a mean, or a mean and a variance.
  """
  options = [
    (channels_in // images, images == 2, parts == 2)
    for images in (1, 2)
    for parts in (1, 2)
    if channels_in * parts == channels_out * images and channels_in % images == 0
  ]
  if not options:
    raise settings.InputError(
      "state_dict",
      "expected a UNet of the authors, whose output has as many channels as its input, twice as "
      f"many or half as many, received {channels_in} channels in and {channels_out} out",
    )
  # As many in as out may be an image without a variance, or two images and one with a variance. The
  # option whose images are grey or RGB is meant.
  return min(options, key=lambda option: option[0] not in (1, 3))


def _outputs(shapes: Shapes, name: str) -> int:
  """Returns the number of output channels of a layer."""
  # If the bias is missing, the weight tells as well. `first_difference` will find what is missing.
  shape = shapes.get(f"{name}.bias") or _shape(shapes, f"{name}.weight")
  return shape[0]


def _shape(shapes: Shapes, name: str, rank: int | None = None) -> Shape:
  """Returns the shape of a parameter that every network has."""
  shape = shapes.get(name)
  if not shape or 0 in shape or len(shape) != (rank or len(shape)):
    raise settings.InputError(
      "state_dict",
      f"expected a UNet of the authors, which has a parameter {name}, received "
      f"{'no such parameter' if shape is None else f'one of shape {shape}'}",
    )
  return shape


def _shown(shape: Shape) -> str:
  """Returns a shape as Python shows a tuple, with a word for an unknown number of classes."""
  return repr(tuple(shape)).replace(str(UNKNOWN), "classes")


def _part(name: str, i: int) -> str:
  parts = name.split(".")
  return parts[i] if i < len(parts) else ""


def _norm(name: str, width: int) -> dict[str, Shape]:
  return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _dense(name: str, width_in: int, width: int) -> dict[str, Shape]:
  return {f"{name}.weight": (width, width_in), f"{name}.bias": (width,)}


def _conv(name: str, width_in: int, width: int, size: int = 3) -> dict[str, Shape]:
  return {f"{name}.weight": (width, width_in, size, size), f"{name}.bias": (width,)}


def _conv1d(name: str, width_in: int, width: int) -> dict[str, Shape]:
  return {f"{name}.weight": (width, width_in, 1), f"{name}.bias": (width,)}


def _attention(name: str, width: int) -> dict[str, Shape]:
  return {
    **_norm(f"{name}.norm", width),
    **_conv1d(f"{name}.qkv", width, 3 * width),
    **_conv1d(f"{name}.proj_out", width, width),
  }
