"""The text of `--help`, and of a command that is run without flags."""

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import re
import shutil
import textwrap
import typing
from typing import Any

from iddpm_tf import settings
from iddpm_tf.settings import arguments

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
  lines = [summary(description), "", *_example(name, description, required), ""]
  lines += [line for field in required for line in _entry(field)]
  return "\n".join([*lines, f"All flags: python -m trainers.{name} --help"])


def full(
  name: str,
  description: str,
  own: Fields,
  sections: Mapping[str, Fields],
  default_source: str | None = None,
) -> str:
  """Returns what a command does, and its flags.

  Args:
    name: the name of the command.
    description: the docstring of its module.
    own: the settings of the command itself.
    sections: the settings of each section of the configuration that is to be listed.
    default_source: what holds those that are not given; None if they have their defaults.
  """
  lines = [description.strip(), "", f"Flags of {name}:"]
  lines += [line for field in own for line in _entry(field)]
  for section, fields in sections.items():
    unset = f" (unset: as in {default_source})" if default_source else ""
    lines += ["", f"Flags of the run, {section}{unset}:"]
    lines += [line for field in fields for line in _entry(field, not default_source)]
  return "\n".join(lines)


def _example(name: str, description: str, required: Fields) -> list[str]:
  """Returns the first indented block of the description, or a command line of what is required."""
  block = re.search(r"(?:^ .*\n?)+", description, re.MULTILINE)
  if block:
    return textwrap.indent(textwrap.dedent(block[0]).rstrip(), "  ").splitlines()
  flags = "".join(f" --{_name_and_value(field)}" for field in required)
  return [f"  python -m trainers.{name}{flags}"]


def _entry(field: dataclasses.Field[Any], with_default: bool = True) -> list[str]:
  """Returns the lines that describe one flag: its name, its meaning and its default."""
  flag = f"  --{_name_and_value(field)}"
  text = field.metadata["help"]
  if is_required(field):
    text += "; required"
  elif with_default and (default := _default(field)):
    text += f" (default: {default})"
  width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
  body = textwrap.wrap(
    text, max(width - _COLUMN, 20), break_long_words=False, break_on_hyphens=False
  )
  if len(flag) + 2 <= _COLUMN:
    return [f"{flag:{_COLUMN}}{body[0]}", *(" " * _COLUMN + line for line in body[1:])]
  return [flag, *(" " * _COLUMN + line for line in body)]


def _name_and_value(field: dataclasses.Field[Any]) -> str:
  """Returns `name=VALUE`, or for a setting that is true or false `[no]name`."""
  kind = arguments.kind_of(field)
  if kind is bool:
    return f"[no]{field.name}"
  if choices := settings.choices_of(field):
    return f"{field.name}={'|'.join(choices)}"
  if typing.get_origin(kind) is tuple:
    return f"{field.name}={_VALUES[typing.get_args(kind)[0]]},..."
  return f"{field.name}={'DIR' if field.name.endswith('_dir') else _VALUES[kind]}"


def _default(field: dataclasses.Field[Any]) -> str:
  """Returns the default value as text; empty if the flag is simply off or unset."""
  if field.default is None or field.default is False:
    return ""
  if field.default is True:
    return "true"
  return settings.shown(field.default).strip("'")
