"""Reads dataclasses of settings from JSON, and checks each name and type."""

from collections.abc import Mapping
import dataclasses
import os
import types
import typing
from typing import Any

from iddpm_tf.settings.errors import InputError

_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def read(section: Any, content: dict[str, Any] | None, version: int) -> Any:
  """Returns a dataclass of the settings in a dictionary, which it empties.

  A setting that is newer than `version` has the value that stands for how earlier versions behaved.
  A section may be absent (None) if all of its settings are newer.

  Args:
    section: the dataclass.
    content: its values by name, as they come out of JSON.
    version: the version of the layout that the content has.

  Raises:
    InputError: a value is missing, unknown, or of the wrong type or range.
  """
  fields = {field.name: field for field in dataclasses.fields(section)}
  required = {name for name, field in fields.items() if field.metadata.get("since", 1) <= version}
  if content is None and not required:
    content = {}
  if not isinstance(content, dict):
    message = f"expected a section for {section.__name__}, received {content!r}"
    raise InputError("config", message)
  values = {
    name: checked(fields[name], content.pop(name))
    for name in sorted(fields.keys() & content.keys())
  }
  if missing := sorted(required - values.keys()):
    raise InputError("config", f"expected values of all settings, received none of {missing[0]}")
  require_empty(content, "settings")
  older = {name: fields[name].metadata["old"] for name in fields.keys() - values.keys()}
  return section(**older, **values)


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
    raise InputError(field.name, f"expected {_described(field.type)}, received {value!r}")
  return converted


def require_empty(content: Mapping[str, Any], kind: str) -> None:
  """Raises an `InputError` that names what a dictionary still holds."""
  if content:
    raise InputError("config", f"expected known {kind}, received {', '.join(sorted(content))}")


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
  return _NAMES.get(kind, "nothing")
