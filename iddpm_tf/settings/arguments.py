"""Settings as text: the arguments of a command line and the lines of a flagfile.

The syntax is that of absl.flags, which is not used because it cannot say which line of a flagfile
is wrong, and finds a nested flagfile from the working folder only.

An argument is `--name=value` or `--name value`; a setting that is true or false can also be
`--name` or `--noname`. One dash is enough. The last value of a setting holds.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import difflib
import re
import types
import typing
from typing import Any
from typing import NamedTuple

from iddpm_tf.settings.errors import InputError
from iddpm_tf.settings.fields import choices_of
from iddpm_tf.settings.fields import require_64_bits
from iddpm_tf.settings.fields import require_local
from iddpm_tf.settings.fields import shown

_NAMED = re.compile(r"--?(?P<name>[a-zA-Z]\w*(-\w+)*)(=(?P<value>.*))?", re.DOTALL)
_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
_KINDS: dict[type, tuple[Callable[[str], Any], str]] = {
  bool: (lambda text: _BOOLEANS[text.lower()], "true or false"),
  int: (int, "a whole number"),
  float: (float, "a number"),
  str: (str, "text"),
}
_SEVERAL = {int: "whole numbers", float: "numbers", str: "names"}


class Argument(NamedTuple):
  """One argument of a command line."""

  text: str
  where: str = ""  # The flagfile and line that it is from; empty for the command line itself.


class UnknownSettingError(InputError):
  """A setting that does not exist.

  Attributes:
    nearest: the existing name that resembles it most, or None.
    where: the flagfile and line that name it; empty for the command line itself.
  """

  def __init__(self, name: str, nearest: str | None, where: str):
    hint = f"; did you mean {nearest}?" if nearest else ""
    super().__init__(name, f"there is no such setting{in_parentheses(where)}{hint}")
    self.nearest, self.where = nearest, where

  def __reduce__(self) -> tuple[Any, ...]:
    return type(self), (self.name, self.nearest, self.where)


def parse(
  arguments: Sequence[Argument], fields: Mapping[str, dataclasses.Field[Any]]
) -> dict[str, Any]:
  """Returns the value of each setting that the arguments give.

  Args:
    arguments: without flagfiles, which `flagfile.expand` replaces by their lines.
    fields: the settings that exist, by name: fields that were made by `settings.setting`.

  Raises:
    UnknownSettingError: a setting is not among `fields`.
    InputError: a value is of the wrong type, or an argument is not of the form `--name=value`.
  """
  values: dict[str, Any] = {}
  remaining = iter(arguments)
  for argument in remaining:
    match = _NAMED.fullmatch(argument.text)
    if not match:
      raise InputError(
        argument.where or "arguments",
        f"expected settings of the form --name=value, received {argument.text!r}",
      )
    name, text = match["name"], match["value"]
    field = fields.get(name)
    if field is None and text is None and name.startswith("no"):
      name, field, text = name.removeprefix("no"), fields.get(name.removeprefix("no")), "false"
      field = field if field and kind_of(field) is bool else None
    if field is None:
      raise UnknownSettingError(match["name"], _nearest(match["name"], fields), argument.where)
    if text is None:
      text = "true" if kind_of(field) is bool else _next(remaining, argument, name)
    values[name] = _value(field, text, argument.where)
  return values


def in_parentheses(where: str) -> str:
  """Returns the place of an argument as the end of a message; empty for the command line."""
  return f" ({where})" if where else ""


def _next(remaining: typing.Iterator[Argument], argument: Argument, name: str) -> str:
  following = next(remaining, None)
  if following is None or following.where != argument.where:
    raise InputError(name, f"expected a value, received nothing{in_parentheses(argument.where)}")
  return following.text


def kind_of(field: dataclasses.Field[Any]) -> Any:
  """Returns the type of a field's values; that of `X | None` is X."""
  kind = field.type
  return typing.get_args(kind)[0] if isinstance(kind, types.UnionType) else kind


def _value(field: dataclasses.Field[Any], text: str, where: str) -> Any:
  kind, choices = kind_of(field), choices_of(field)
  if typing.get_origin(kind) is tuple:
    element = typing.get_args(kind)[0]
    parts, expected = text.split(",") if text else [], f"comma-separated {_SEVERAL[element]}"
  else:
    element, parts, expected = kind, [text], _KINDS[kind][1]
  try:
    values = tuple(_KINDS[element][0](part) for part in parts)
  except (ValueError, KeyError):
    raise InputError(
      field.name, f"expected {expected}, received {shown(text)}{in_parentheses(where)}"
    ) from None
  value = values if typing.get_origin(kind) is tuple else values[0]
  require_64_bits(field.name, value, in_parentheses(where))
  if not field.metadata.get("remote"):
    require_local(field.name, value, in_parentheses(where))
  if choices and not set(values) <= set(choices):
    raise InputError(
      field.name,
      f"expected one of {', '.join(choices)}, received {shown(text)}{in_parentheses(where)}",
    )
  return value


def _nearest(name: str, fields: Mapping[str, dataclasses.Field[Any]]) -> str | None:
  negated = [f"no{field.name}" for field in fields.values() if kind_of(field) is bool]
  matches = difflib.get_close_matches(name, [*fields, *negated], n=1, cutoff=0.7)
  return matches[0] if matches else None
