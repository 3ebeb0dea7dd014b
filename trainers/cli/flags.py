"""Flags made from the fields of dataclasses, and configurations made from flags."""

import dataclasses
import types
import typing

from absl import flags

from iddpm_tf import config as config_lib
from iddpm_tf import settings


class _TupleParser(flags.ArgumentParser):
  """Comma-separated values; the empty string is none of them."""

  def __init__(self, element):
    self._element = element
    self.syntactic_help = f"comma-separated {element.__name__} values"

  def parse(self, argument):
    if isinstance(argument, tuple):
      return argument
    try:
      return tuple(self._element(part) for part in argument.split(",")) if argument else ()
    except ValueError:
      raise ValueError(f"expected {self.syntactic_help}, received {argument!r}") from None

  def flag_type(self):
    return self.syntactic_help


class _TupleSerializer(flags.ArgumentSerializer):
  def serialize(self, value):
    return ",".join(map(str, value))


def define(flag_values, dataclass, group, skip=()):
  """A flag for each field of a dataclass of `config.setting`s; `--help` lists them under `group`."""
  for field in dataclasses.fields(dataclass):
    if field.name not in skip and "help" in field.metadata:
      flags.DEFINE_flag(_flag(field), flag_values, module_name=group)


def _flag(field):
  kind, text = field.type, field.metadata["help"]
  if isinstance(kind, types.UnionType):  # X | None
    kind = typing.get_args(kind)[0]
  if kind is bool:
    return flags.BooleanFlag(field.name, field.default, text)
  if choices := field.metadata["choices"]:
    return flags.EnumFlag(field.name, field.default, text, enum_values=list(choices))
  if typing.get_origin(kind) is tuple:
    parser, serializer = _TupleParser(typing.get_args(kind)[0]), _TupleSerializer()
  else:
    parser = {int: flags.IntegerParser, float: flags.FloatParser, str: flags.ArgumentParser}[kind]()
    serializer = flags.ArgumentSerializer()
  return flags.Flag(parser, serializer, field.name, field.default, text)


def parse(flag_values, argv):
  """Parses; `ValueError` for anything left over, since `lr=3` in a flagfile is no flag."""
  _, *rest = flag_values(argv)
  if rest:
    raise ValueError(f"expected flags such as --name=value only, received {rest[0]!r}")


def read(flag_values, dataclass):
  """A `dataclass` of its flags' values."""
  return dataclass(
    **{
      field.name: flag_values[field.name].value
      for field in dataclasses.fields(dataclass)
      if "help" in field.metadata
    }
  )


def override(config, flag_values, *, skip=(), made=None):
  """`config` with the flags that were given.

  Args:
    config: a `Config`.
    flag_values: parsed.
    skip: flags that mean something else to this command.
    made: the folder that `config` describes. A flag that contradicts it, other than by what may
      change, is then a `ValueError` with both values.
  """
  sections = {}
  for name, dataclass in config_lib.parts().items():
    section = getattr(config, name)
    given = {
      field.name: flag_values[field.name].value
      for field in dataclasses.fields(dataclass)
      if field.name not in skip and field.name in flag_values and flag_values[field.name].present
    }
    if made:
      _require_same(section, given, made)
    sections[name] = dataclasses.replace(section, **given)
  return config_lib.Config(**sections)


def _require_same(section, given, made):
  for field in dataclasses.fields(section):
    stored = getattr(section, field.name)
    if field.name in given and not field.metadata["changeable"] and given[field.name] != stored:
      settings.require(
        False,
        field.name,
        f"{settings.shown(stored)}, with which {made} was made",
        given[field.name],
      )
