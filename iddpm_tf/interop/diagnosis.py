"""Whether a state dict fits a configuration, and which settings differ if it does not."""

from collections.abc import Mapping
import dataclasses
import math

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.interop import architecture as architecture_lib

# Each field of an `Architecture` and the setting that determines it, in the order of the report.
_SETTINGS = {
  "base_channels": "base_channels",
  "num_classes": "class_conditional",
  "enlarges": "low_res_size",
  "channel_multipliers": "channel_multipliers",
  "scaled_first_conv": "scaled_first_conv",
  "num_res_blocks": "num_res_blocks",
  "attention_levels": "attention_resolutions",
  "scale_shift_norm": "scale_shift_norm",
  "conv_resample": "conv_resample",
  "resblock_updown": "resblock_updown",
  "pool": "pool",
  "pool_positions": "image_size",
  "learns_variance": "variance_type",
}


def fitted_config(
  state_dict: Mapping[str, np.ndarray], config: config_lib.Config, source: str
) -> config_lib.Config:
  """Returns a configuration completed from a state dict, which must fit it.

  Args:
    state_dict: the parameters by their names.
    config: a configuration with `data.image_size`. Its `image_shape` and `num_classes` are ignored.
    source: the name of the state dict's file, for errors.

  Returns:
    `config` with the image shape and the number of classes of the state dict.

  Raises:
    InputError: the state dict does not fit. The message names the first parameter that differs, in
      the authors' order, and every setting that differs, with both values.
  """
  shapes = {name: np.shape(array) for name, array in state_dict.items()}
  with settings.renamed({"state_dict": source}):
    received = architecture_lib.infer(shapes)
  kinds = {True: "a classifier", False: "a diffusion model's UNet"}
  if received.is_classifier != config.is_classifier:
    expected = f"expected {kinds[config.is_classifier]}, because pool is {config.network.pool}"
    raise settings.InputError(source, f"{expected}, received {kinds[received.is_classifier]}")
  _require_fit(shapes, received, config, source)
  for name in sorted(state_dict, key=architecture_lib.authors_order):
    if not np.isfinite(state_dict[name]).all():
      raise settings.InputError(
        source, f"expected finite weights, received infinities or NaN in {name}"
      )
  size = config.data.image_size
  return dataclasses.replace(
    config,
    data=dataclasses.replace(
      config.data,
      image_shape=(size, size, received.image_channels),
      num_classes=received.num_classes,
    ),
  )


def _require_fit(
  shapes: architecture_lib.Shapes,
  received: architecture_lib.Architecture,
  config: config_lib.Config,
  source: str,
) -> None:
  """Raises an `InputError` if the shapes are not those of the configuration's network."""
  expected = _expected(config, received)
  expected_shapes = expected.shapes()
  name = architecture_lib.first_difference(expected_shapes, shapes)
  if name is None:
    return
  message = architecture_lib.describe_difference(name, expected_shapes, shapes)
  differing = [
    text
    for field in _explaining(name, shapes, received, expected)
    for text in _describe(field, received, config)
  ]
  if differing:
    noun = "setting differs" if len(differing) == 1 else "settings differ"
    message += f"; {len(differing)} {noun}: {'; '.join(differing)}"
  raise settings.InputError(source, message)


def _expected(
  config: config_lib.Config, received: architecture_lib.Architecture
) -> architecture_lib.Architecture:
  """Returns the architecture of a configuration.

  What no setting determines is as received: the number of classes and the channels of the images.
  """
  network, size = config.network, config.data.image_size
  levels = max(len(network.channel_multipliers), len(received.channel_multipliers))
  classes = received.num_classes or architecture_lib.UNKNOWN
  in_middle = size // 2**network.depth  # Height and width.
  return architecture_lib.Architecture(
    base_channels=network.base_channels,
    num_classes=classes if network.class_conditional or config.is_classifier else 0,
    enlarges=bool(network.low_res_size),
    channel_multipliers=network.channel_multipliers,
    num_res_blocks=network.num_res_blocks,
    attention_levels=frozenset(
      level for level in range(levels) if size // 2**level in network.attention_resolutions
    ),
    scale_shift_norm=network.scale_shift_norm,
    conv_resample=network.conv_resample,
    learns_variance=config.diffusion.learns_variance and not config.is_classifier,
    image_channels=received.image_channels,
    resblock_updown=network.resblock_updown,
    scaled_first_conv=network.scaled_first_conv,
    pool=network.pool,
    pool_positions=in_middle**2 + 1 if network.pool == "attention" else 0,
  )


def _explaining(
  name: str,
  shapes: architecture_lib.Shapes,
  received: architecture_lib.Architecture,
  expected: architecture_lib.Architecture,
) -> list[str]:
  """Returns the fields of an `Architecture` that explain why a state dict does not fit.

  Args:
    name: the first parameter that differs.
    shapes: the shapes of the state dict.
    received: the architecture inferred from them.
    expected: the architecture of the configuration.
  """

  def explains(fields):
    """Returns whether the first difference comes later, or vanishes, with the received fields."""
    changed = dataclasses.replace(expected, **{field: getattr(received, field) for field in fields})
    later = architecture_lib.first_difference(changed.shapes(), shapes)
    order = architecture_lib.authors_order
    return later is None or order(later) > order(name)

  # Where there is one level only, for example, no shape shows whether resampling is learned.
  differing = [
    field
    for field in _SETTINGS
    if getattr(received, field) != getattr(expected, field)
    # Another head has other positions, or none.
    and (field != "pool_positions" or received.pool == expected.pool)
    and _with(received, field, expected).shapes() != received.shapes()
  ]
  if differing and explains(differing):
    return differing
  # The state dict is damaged, and some fields differ only because of that.
  return [field for field in differing if explains([field])]


def _with(
  architecture: architecture_lib.Architecture, field: str, other: architecture_lib.Architecture
) -> architecture_lib.Architecture:
  """Returns an architecture with one field of another."""
  return dataclasses.replace(architecture, **{field: getattr(other, field)})


def _describe(
  field: str, received: architecture_lib.Architecture, config: config_lib.Config
) -> list[str]:
  """Returns the settings behind a field that differs, each with both of its values."""
  setting = _SETTINGS[field]
  sections = {"learns_variance": config.diffusion, "pool_positions": config.data}
  section = sections.get(field, config.network)
  descriptions = [_values(setting, _shown(field, received, config), getattr(section, setting))]
  if field == "learns_variance":
    # L_simple trains no variance, and L_hybrid trains one.
    objectives = "hybrid or vlb" if received.learns_variance else "simple or vlb"
    if config.diffusion.objective not in objectives.split(" or "):
      descriptions.append(_values("objective", objectives, config.diffusion.objective))
  return descriptions


def _values(setting: str, of_checkpoint: str, value: object) -> str:
  shown = value if isinstance(value, str) else "none" if value == () else settings.shown(value)
  return f"{setting} is {of_checkpoint} in the checkpoint and {shown} in the configuration"


def _shown(field: str, received: architecture_lib.Architecture, config: config_lib.Config) -> str:
  """Returns the checkpoint's value of a setting."""
  value = getattr(received, field)
  match field:
    case "num_classes":
      return str(bool(value))
    case "enlarges":
      return "above 0" if value else "0"
    case "attention_levels":
      size = config.data.image_size
      heights = ",".join(str(size // 2**level) for level in sorted(value))
      return f"{heights or 'none'} (at image_size {size})"
    case "pool_positions":
      in_middle = math.isqrt(value - 1) if value else 0
      return str(in_middle * 2 ** (len(received.channel_multipliers) - 1))
    case "learns_variance":
      return "learned or learned_range" if value else "fixed_small or fixed_large"
    case _:
      return value if isinstance(value, str) else settings.shown(value)
