"""Whether a state dict fits a configuration and, where it does not, which flag would explain it."""

import dataclasses

import numpy as np

from iddpm_tf import settings
from iddpm_tf.interop import architecture as architecture_lib

# Each field of an `Architecture` that a flag sets, in the order in which parameters tell of them.
_FLAGS = {
  "base_channels": "base_channels",
  "num_classes": "class_conditional",
  "enlarges": "low_res_size",
  "channel_multipliers": "channel_multipliers",
  "num_res_blocks": "num_res_blocks",
  "attention_levels": "attention_resolutions",
  "scale_shift_norm": "scale_shift_norm",
  "conv_resample": "conv_resample",
  "learns_variance": "variance_type",
}


def fitted_config(state_dict, config, source):
  """`config` with the image shape and the number of classes of a state dict that fits it.

  Args:
    state_dict: {name: array}.
    config: a `Config` with `data.image_size`; its recorded fields do not count.
    source: the name of the state dict's file, for messages.

  Raises:
    ValueError: it does not fit. Names the first parameter that differs, in the authors' order, and the
      flag that would explain it with the value that the state dict shows.
  """
  shapes = {name: np.shape(array) for name, array in state_dict.items()}
  try:
    found = architecture_lib.infer(shapes)
  except ValueError as error:
    raise settings.InputError(source, f"{error}") from None
  _require_same(shapes, found, _expected(config, found), config, source)
  for name in sorted(state_dict, key=architecture_lib.authors_order):
    if not np.isfinite(state_dict[name]).all():
      raise settings.InputError(
        source, f"expected finite weights, received infinities or NaN in {name}"
      )
  size = config.data.image_size
  return dataclasses.replace(
    config,
    data=dataclasses.replace(
      config.data, image_shape=(size, size, found.image_channels), num_classes=found.num_classes
    ),
  )


def _expected(config, found):
  """The `Architecture` of the flags; what no flag sets is as found."""
  network, size = config.network, config.data.image_size
  return architecture_lib.Architecture(
    base_channels=network.base_channels,
    # How many there are is the data's to say.
    num_classes=(found.num_classes or "classes") if network.class_conditional else 0,
    enlarges=bool(network.low_res_size),
    channel_multipliers=network.channel_multipliers,
    num_res_blocks=network.num_res_blocks,
    attention_levels=frozenset(
      level
      for level in range(network.depth + 1)
      if size // 2**level in network.attention_resolutions
    ),
    scale_shift_norm=network.scale_shift_norm,
    conv_resample=network.conv_resample,
    learns_variance=config.diffusion.learns_variance,
    image_channels=found.image_channels,
  )


def _require_same(shapes, found, expected, config, source):
  wanted = expected.shapes()
  name = _first_difference(wanted, shapes)
  if name is None:
    return
  if name not in shapes:
    difference = f"expected shape {_shown_shape(wanted[name])}, missing from {source}"
  elif name not in wanted:
    difference = f"the network has no such parameter, received shape {shapes[name]} from {source}"
  else:
    difference = f"expected shape {wanted[name]}, received {shapes[name]} from {source}"
  explanation = _explanation(name, shapes, found, expected, config)
  raise settings.InputError(name, f"{difference}{explanation}")


def _explanation(name, shapes, found, expected, config):
  """What to say of the flag that makes the difference at `name`; nothing where none does."""
  differing = [field for field in _FLAGS if getattr(found, field) != getattr(expected, field)]

  def moves_on(fields):
    """Whether these settings would take the first difference elsewhere, that is further on."""
    changed = dataclasses.replace(expected, **{field: getattr(found, field) for field in fields})
    after = _first_difference(changed.shapes(), shapes)
    return after is None or architecture_lib.authors_order(after) > architecture_lib.authors_order(
      name
    )

  # One by one, then all together.
  explaining = next(filter(moves_on, [*([field] for field in differing), differing]), None)
  if not explaining:
    return ""
  field = explaining[0]
  flag = _FLAGS[field]
  section = config.diffusion if field == "learns_variance" else config.network
  received = settings.shown(getattr(section, flag)) or "none"
  return f"; --{flag}: the checkpoint's is {_shown(found, field, config)}, received {received}"


def _shown(found, field, config):
  """A setting of the state dict as its flag would have it."""
  value = getattr(found, field)
  match field:
    case "num_classes":
      return str(bool(value))
    case "enlarges":
      return "more than 0 (it enlarges images)" if value else "0 (it draws from noise alone)"
    case "attention_levels":
      size = config.data.image_size
      heights = ",".join(str(size // 2**level) for level in sorted(value))
      return f"{heights or 'none'} with --image_size={size}"
    case "learns_variance":
      return "learned or learned_range" if value else "fixed_small or fixed_large"
    case _:
      return settings.shown(value)


def _first_difference(wanted, shapes):
  differing = [
    name for name in wanted.keys() | shapes.keys() if wanted.get(name) != shapes.get(name)
  ]
  return min(differing, key=architecture_lib.authors_order, default=None)


def _shown_shape(shape):
  """As Python shows a tuple, but for the number of classes where it is not known."""
  return repr(shape).replace("'", "")
