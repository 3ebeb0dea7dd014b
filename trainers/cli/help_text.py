"""The text of `--help`, and of a command that is run without flags."""

from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import re
import shutil
import textwrap
import typing
from typing import Any
from typing import NamedTuple

from iddpm_tf import settings
from iddpm_tf.settings import arguments

WIDTH = 100
_COLUMN = 30  # The column at which the help texts begin.
_VALUES = {int: "NUMBER", float: "NUMBER", str: "TEXT"}

Fields = Iterable[dataclasses.Field[Any]]


class Group(NamedTuple):
  """Flags under one heading.

  Attributes:
    heading: the heading, without its colon.
    fields: the settings that the flags set.
    has_defaults: whether a flag that is not given has the default value of its field. If not, the
      value comes from somewhere else, such as a model folder.
  """

  heading: str
  fields: Fields
  has_defaults: bool = True


def summary(description: str) -> str:
  """Returns the first line of a command's description: what it does, in one sentence."""
  return description.strip().split("\n", 1)[0]


def is_required(field: dataclasses.Field[Any]) -> bool:
  """Returns whether a setting has no default value."""
  return field.default is dataclasses.MISSING


def short(name: str, description: str, own: Fields) -> str:
  """Returns a few lines that say how a command is run.

  Args:
    name: the name of the command.
    description: the docstring of its module.
    own: the settings of the command itself.
  """
  required = [field for field in own if is_required(field)]
  lines = [summary(description), "", *_example(name, description, required), ""]
  if required:
    lines += [*_entries(Group("Required", required)), ""]
  return "\n".join([*lines, f"All flags: python -m trainers.{name} --help"])


def full(description: str, groups: Iterable[Group]) -> str:
  """Returns what a command does, and its flags.

  Args:
    description: the docstring of the command's module.
    groups: the flags to list.
  """
  parts = [description.strip(), *("\n".join(_entries(group)) for group in groups)]
  return "\n\n".join(parts)


def _example(name: str, description: str, required: Fields) -> list[str]:
  """Returns the first indented lines of the description, or a command line of what is required."""
  block = re.search(r"(?:^ .*\n?)+", description, re.MULTILINE)
  if block:
    return textwrap.indent(textwrap.dedent(block[0]).rstrip(), "  ").splitlines()
  flags = "".join(f" --{_name_and_value(field)}" for field in required)
  return [f"  python -m trainers.{name}{flags}"]


def _entries(group: Group) -> list[str]:
  """Returns a heading and the lines of each flag: its name, its meaning and its default."""
  width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
  lines = [f"{group.heading}:"]
  for field in group.fields:
    may_be_on = field.default is True or not group.has_defaults
    flag = f"  --{'[no]' if may_be_on and _is_switch(field) else ''}{_name_and_value(field)}"
    text = field.metadata["help"]
    if _has_many(choices := settings.choices_of(field)):
      text += f": one of {', '.join(choices)}"
    if group.has_defaults and (default := _default(field)):
      text += f" (default: {default})"
    body = textwrap.wrap(
      text, max(width - _COLUMN, 20), break_long_words=False, break_on_hyphens=False
    )
    if len(flag) + 2 > _COLUMN:
      lines.append(flag)
    else:
      lines.append(f"{flag:{_COLUMN}}{body.pop(0)}")
    lines += [" " * _COLUMN + line for line in body]
  return lines


def _is_switch(field: dataclasses.Field[Any]) -> bool:
  return arguments.kind_of(field) is bool


def _has_many(choices: Sequence[str]) -> bool:
  """Returns whether there are more choices than fit behind the name of a flag."""
  return sum(map(len, choices)) > _COLUMN * 2


def _name_and_value(field: dataclasses.Field[Any]) -> str:
  """Returns `name=VALUE`, or the name alone for a setting that is true or false."""
  if _is_switch(field):
    return field.name
  choices = settings.choices_of(field)
  if choices and not _has_many(choices):
    return f"{field.name}={'|'.join(choices)}"
  kind = arguments.kind_of(field)
  if typing.get_origin(kind) is tuple:
    return f"{field.name}={_VALUES[typing.get_args(kind)[0]]},..."
  return f"{field.name}={'DIR' if field.name.endswith('_dir') else _VALUES[kind]}"


def _default(field: dataclasses.Field[Any]) -> str:
  """Returns the default value as text; empty if the flag is off, unset or required by default."""
  if field.default in (None, dataclasses.MISSING, "", ()) or field.default is False:
    return ""
  if field.default is True:
    return "true"
  return settings.shown(field.default).strip("'")
