"""The text of `--help`, and of a command that is run without flags."""

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import re
import textwrap
import types
import typing
from typing import Any

from iddpm_tf.settings import fields as fields_lib

WIDTH = 100
_COLUMN = 30  # At which the help texts begin.
_VALUES = {int: "NUMBER", float: "NUMBER", str: "TEXT"}

Fields = Iterable[dataclasses.Field[Any]]


def summary(description: str) -> str:
  """Returns the first line of a command's description: what it does, in one sentence."""
  return description.strip().split("\n", 1)[0]


def is_required(field: dataclasses.Field[Any]) -> bool:
  """Returns whether a setting has no default value."""
  return field.default is dataclasses.MISSING


def short(name: str, description: str, own: Fields) -> str:
  """Returns a few lines that say how a command is run."""
  required = [field for field in own if is_required(field)]
  lines = [f"{name}: {summary(description)}", "", *_example(name, description, required), ""]
  lines += [line for field in required for line in _entry(field)]
  lines += [f"All flags: python -m trainers.{name} --help"]
  return "\n".join(lines)


def full(name: str, description: str, own: Fields, sections: Mapping[str, Fields]) -> str:
  """Returns what a command does, and its flags.

  Args:
    name: the name of the command.
    description: the docstring of its module.
    own: the settings of the command itself.
    sections: the settings of each section of the configuration that is to be listed.
  """
  lines = [description.strip(), "", f"Flags of {name}:"]
  lines += [line for field in own for line in _entry(field)]
  for section, fields in sections.items():
    lines += ["", f"Flags of the configuration, {section}:"]
    lines += [line for field in fields for line in _entry(field)]
  return "\n".join(lines)


def _example(name: str, description: str, required: Fields) -> list[str]:
  """Returns the first indented block of the description, or a command line of what is required."""
  block = re.search(r"(?:^ .*\n?)+", description, re.MULTILINE)
  if block:
    return textwrap.indent(textwrap.dedent(block[0]).rstrip(), "  ").splitlines()
  flags = "".join(f" --{field.name}={_value_name(field)}" for field in required)
  return [f"  python -m trainers.{name}{flags}"]


def _entry(field: dataclasses.Field[Any]) -> list[str]:
  """Returns the lines that describe one flag: its name, its meaning and its default."""
  kind = _kind(field)
  flag = f"  --[no]{field.name}" if kind is bool else f"  --{field.name}={_value_name(field)}"
  text = field.metadata["help"]
  if is_required(field):
    text += "; required"
  elif field.default not in (None, "", ()) and kind is not bool:
    text += f" (default: {_shown(field.default)})"
  elif field.default is True:
    text += " (default: true)"
  body = textwrap.wrap(text, WIDTH - _COLUMN, break_long_words=False, break_on_hyphens=False)
  if len(flag) + 2 <= _COLUMN:
    return [f"{flag:{_COLUMN}}{body[0]}", *(" " * _COLUMN + line for line in body[1:])]
  return [flag, *(" " * _COLUMN + line for line in body)]


def _kind(field: dataclasses.Field[Any]) -> Any:
  kind = field.type
  return typing.get_args(kind)[0] if isinstance(kind, types.UnionType) else kind


def _value_name(field: dataclasses.Field[Any]) -> str:
  if choices := fields_lib.choices_of(field):
    return "|".join(choices)
  kind = _kind(field)
  if typing.get_origin(kind) is tuple:
    return f"{_VALUES[typing.get_args(kind)[0]]},..."
  return "DIR" if field.name.endswith("_dir") else _VALUES[kind]


def _shown(value: object) -> str:
  return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
