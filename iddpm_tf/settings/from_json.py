"""Dataclasses of settings out of JSON, checked name by name and type by type."""

import dataclasses
import types
import typing


def read(dataclass, content, version):
  """A `dataclass` of the settings in a dictionary, which it empties; `ValueError` for anything else.

  Settings that are younger than `version` take their defaults; where all are, there need be no section (None).
  """
  if content is None and all(
    field.metadata.get("since", 1) > version for field in dataclasses.fields(dataclass)
  ):
    return dataclass()
  if not isinstance(content, dict):
    raise ValueError(f"expected a section for {dataclass.__name__}, received {content!r}")
  fields = {field.name: field for field in dataclasses.fields(dataclass)}
  values = {}
  for name in fields.keys() & content.keys():
    value = content.pop(name)
    values[name] = tuple(value) if isinstance(value, list) else value
    if not _is_of_type(values[name], fields[name].type):
      raise ValueError(f"{name}: expected {fields[name].type}, received {value!r}")
  if missing := sorted(
    name
    for name in fields.keys() - values.keys()
    if fields[name].metadata.get("since", 1) <= version
  ):
    raise ValueError(f"no value for {', '.join(missing)}")
  none_left(content, "settings")
  return dataclass(**values)


def none_left(content, what):
  """An empty dictionary; `ValueError` that names what `content` still holds."""
  if content:
    raise ValueError(f"unknown {what}: {', '.join(sorted(content))}")
  return {}


def _is_of_type(value, kind):
  if typing.get_origin(kind) is tuple:
    element = typing.get_args(kind)[0]
    return isinstance(value, tuple) and all(_is_of_type(item, element) for item in value)
  if isinstance(kind, types.UnionType):
    return any(_is_of_type(value, option) for option in typing.get_args(kind))
  if kind is float:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
  return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
