"""Fields of dataclasses of settings, and checks of their values."""

import dataclasses
import math

from iddpm_tf.settings.errors import InputError

MAX_SEED = 2**31 - 1


def setting(default, text, *, choices=(), changeable=False, since=1):
  """A field with its help text.

  `changeable`: may differ when a run is resumed. `since`: the first version of config.json that has it; in an
  older one the default stands for it.
  """
  return dataclasses.field(
    default=default,
    metadata={"help": text, "choices": choices, "changeable": changeable, "since": since},
  )


def recorded(default):
  """A field that comes from the data, not from a flag."""
  return dataclasses.field(default=default, metadata={"recorded": True})


def require(condition, name, expected, received):
  """Raises an `InputError` that says what was expected of a setting, unless the condition is true."""
  if not condition:
    raise InputError(name, f"expected {expected}, received {shown(received)}")


def require_seed(seed):
  require(0 <= seed <= MAX_SEED, "seed", f"a number from 0 to {MAX_SEED}", seed)


def shown(value):
  """A value as on the command line."""
  return ",".join(map(str, value)) if isinstance(value, tuple) else repr(value)


def require_choices(config):
  """`require` of every field that has choices."""
  for field in dataclasses.fields(config):
    choices = field.metadata.get("choices", ())
    value = getattr(config, field.name)
    require(not choices or value in choices, field.name, f"one of {', '.join(choices)}", value)


def require_positive(config, *names):
  """`require` of fields that are finite numbers above 0."""
  for name in names:
    value = getattr(config, name)
    require(0 < value < math.inf, name, "a positive number", value)


def require_not_negative(config, *names):
  """`require` of fields that are finite numbers of at least 0."""
  for name in names:
    value = getattr(config, name)
    require(value >= 0 and math.isfinite(value), name, "a number of at least 0", value)
