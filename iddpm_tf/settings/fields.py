"""Fields of dataclasses of settings, and checks of their values."""

import dataclasses
import math
import numbers
import os
import re
import types
import typing
from typing import Any

from iddpm_tf.settings.errors import InputError
from iddpm_tf.settings.registry import Registry

MAX_SEED = 2**31 - 1
_TYPES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_LONGEST = 200  # Characters of a value in an error.
# gs://bucket/run, or gs:/bucket/run as pathlib writes it.
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/")
_SAME: Any = object()  # Older versions behaved as the default value does.


def setting(
  default: Any,
  text: str,
  *,
  choices: tuple[str, ...] | Registry[Any] = (),
  changeable: bool = False,
  extendable: bool = False,
  remote: bool = False,
  since: int = 1,
  old: Any = _SAME,
) -> Any:
  """Returns a field of a dataclass that is a setting.

  Args:
    default: the default value.
    text: the help text.
    choices: all values that the setting can take, or the registry of their names; empty if any
      value is possible.
    changeable: whether the value may change when a run is resumed.
    extendable: whether a list may get more elements when a run is resumed.
    remote: whether a text may be an address of another machine.
    since: the first version of `config.json` that holds the setting.
    old: the value that a configuration of an earlier version has; unset: the default value.
  """
  return dataclasses.field(
    default=default,
    metadata={
      "help": text,
      "choices": choices,
      "changeable": changeable,
      "extendable": extendable,
      "remote": remote,
      "since": since,
      "old": default if old is _SAME else old,
    },
  )


def required(text: str, *, choices: tuple[str, ...] = ()) -> Any:
  """Returns a field of a dataclass that is a setting without a default value.

  Args:
    text: the help text.
    choices: all values that the setting can take; empty if there is no such list.
  """
  return dataclasses.field(
    kw_only=True,
    metadata={"help": text, "choices": choices, "changeable": False, "since": 1},
  )


def recorded(default: Any, *, changeable: bool = False, since: int = 1) -> Any:
  """Returns a field of a dataclass that is no setting: its value comes from the data.

  Args:
    default: the value while it is not known.
    changeable: whether the value may change when a run is resumed.
    since: the first version of `config.json` that holds the value.
  """
  metadata = {"recorded": True, "changeable": changeable, "since": since, "old": default}
  return dataclasses.field(default=default, metadata=metadata)


def convert(config: Any) -> None:
  """Converts the values of a frozen dataclass of settings to the types of its fields.

  Paths become texts, lists become tuples, and NumPy's numbers become Python's.

  Raises:
    InputError: a value is of another type than its field.
  """
  for field in dataclasses.fields(config):
    object.__setattr__(config, field.name, checked(field, getattr(config, field.name)))


def checked(field: dataclasses.Field[Any], value: Any) -> Any:
  """Returns the value of a field; a list is returned as a tuple.

  Raises:
    InputError: the value is of another type than the field.
  """
  if isinstance(value, os.PathLike):
    value = os.fspath(value)
  elif hasattr(value, "tolist"):  # NumPy's scalars and arrays.
    value = value.tolist()
  converted = tuple(value) if isinstance(value, list) else value
  if not _is_of_type(converted, field.type):
    raise InputError(field.name, f"expected {_described(field.type)}, received {shown(value)}")
  require_64_bits(field.name, converted)
  return converted


def require_64_bits(name: str, value: object, where: str = "") -> None:
  """Raises an `InputError` for a whole number that NumPy and TensorFlow cannot hold.

  Args:
    name: the name of the setting.
    value: its value; a tuple is looked into, anything else but a whole number is accepted.
    where: the place of the setting as the end of the message.
  """
  for item in value if isinstance(value, tuple) else (value,):
    if isinstance(item, int) and item.bit_length() > 63:
      message = f"expected whole numbers of at most 64 bits, received {shown(item)}{where}"
      raise InputError(name, message)


def by_name(*classes: Any) -> dict[str, dataclasses.Field[Any]]:
  """Returns the fields of dataclasses that are settings, by name."""
  return {
    field.name: field
    for dataclass in classes
    for field in dataclasses.fields(dataclass)
    if "help" in field.metadata
  }


def changed(options: Any) -> dict[str, Any]:
  """Returns the settings of a dataclass whose values are not the defaults, by name."""
  return {
    name: getattr(options, name)
    for name, field in by_name(options).items()
    if getattr(options, name) != field.default
  }


def require(condition: object, name: str, expected: str, received: object) -> None:
  """Raises an `InputError` that says what was expected, unless the condition is true."""
  if not condition:
    raise InputError(name, f"expected {expected}, received {shown(received)}")


def require_count(name: str, value: Any, least: int = 1) -> None:
  """Raises an `InputError` unless a value is a whole number of at least `least`."""
  whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
  expected = f"a whole number of at least {least}"
  require(whole and value >= least, name, expected, value)


def require_seed(seed: int) -> None:
  """Raises an `InputError` unless the seed is in the range that all of the library accepts."""
  require(0 <= seed <= MAX_SEED, "seed", f"a number from 0 to {MAX_SEED}", seed)


def require_local(name: str, path: object, where: str = "") -> None:
  """Raises an `InputError` for a path that is an address of remote storage.

  A folder of such a name would otherwise be made on this machine. Windows' drive letters are no
  addresses.

  Args:
    name: the name of the setting.
    path: the path; anything else is accepted.
    where: the place of the setting as the end of the message; see `arguments.in_parentheses`.
  """
  text = os.fspath(path) if isinstance(path, os.PathLike) else path
  if isinstance(text, str) and _ADDRESS.match(text):
    message = f"expected a path on this machine, received the address {text!r}{where}"
    raise InputError(name, f"{message}; remote storage must be mounted, or copied from and to")


def shown(value: object) -> str:
  """Returns a value as text in one line: a tuple comma-separated, any other as Python writes it."""
  try:
    text = (",".join(map(str, value)) or "nothing") if isinstance(value, tuple) else repr(value)
  except ValueError:  # Python writes no whole number of thousands of digits.
    return "a number of too many digits"
  if not text.isprintable():
    text = repr(text)
  if len(text) <= _LONGEST:
    return text
  return f"{text[:_LONGEST]}... ({len(text):,} characters)"


def choices_of(field: dataclasses.Field) -> tuple[str, ...]:
  """Returns the values that a setting may have, or () where any value is possible."""
  choices = field.metadata.get("choices", ())
  return choices.names() if isinstance(choices, Registry) else choices


def require_choices(config: Any) -> None:
  """Raises an `InputError` unless each field of a dataclass that has choices has some of them."""
  for field in dataclasses.fields(config):
    choices = choices_of(field)
    value = getattr(config, field.name)
    values = value if isinstance(value, tuple) else (value,)
    known = not choices or all(item in choices for item in values)
    require(known, field.name, f"one of {', '.join(choices)}", value)


def require_positive(config: Any, *names: str) -> None:
  """Raises an `InputError` for the first of the fields that is not a finite number above 0."""
  for name in names:
    value = getattr(config, name)
    require(0 < value < math.inf, name, "a positive number", value)


def require_not_negative(config: Any, *names: str) -> None:
  """Raises an `InputError` for the first of the fields that is not finite and at least 0."""
  for name in names:
    value = getattr(config, name)
    require(0 <= value < math.inf, name, "a number of at least 0", value)


def _is_of_type(value: Any, kind: Any) -> bool:
  if typing.get_origin(kind) is tuple:
    element = typing.get_args(kind)[0]
    return isinstance(value, tuple) and all(_is_of_type(item, element) for item in value)
  if isinstance(kind, types.UnionType):
    return any(_is_of_type(value, option) for option in typing.get_args(kind))
  if kind is float:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
  return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _described(kind: Any) -> str:
  """Returns a type in words."""
  if typing.get_origin(kind) is tuple:
    return f"a list of values that are each {_described(typing.get_args(kind)[0])}"
  if isinstance(kind, types.UnionType):
    return " or ".join(_described(option) for option in typing.get_args(kind))
  return _TYPES.get(kind, "nothing")
