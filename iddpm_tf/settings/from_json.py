"""Reads dataclasses of settings from JSON, and checks each name and type."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from iddpm_tf.settings.errors import InputError
from iddpm_tf.settings.fields import checked


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


def require_empty(content: Mapping[str, Any], kind: str) -> None:
  """Raises an `InputError` that names what a dictionary still holds."""
  if content:
    raise InputError("config", f"expected known {kind}, received {', '.join(sorted(content))}")
