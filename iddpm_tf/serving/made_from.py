"""Reads what an export says of the model that it was made from. It needs no TensorFlow."""

import json
import pathlib
from typing import Any
from typing import NamedTuple

from iddpm_tf import config as config_lib
from iddpm_tf.serving import layout


class Labels(NamedTuple):
  """The classes that label images."""

  number: int
  names: tuple[str, ...]  # Empty where they are unknown.


def read(version: pathlib.Path) -> dict[str, Any]:
  """Returns the content of `made_from.json` of a version; empty if another program has written it.

  Args:
    version: the folder of the version.
  """
  try:
    content = json.loads((version / layout.ASSETS / layout.MADE_FROM).read_text(encoding="utf-8"))
  except (OSError, ValueError, RecursionError):
    return {}
  return content if isinstance(content, dict) else {}


def labels(version: pathlib.Path, config: config_lib.Config) -> Labels:
  """Returns the classes of the labels of an export: the model's, or those of its classifier.

  Args:
    version: the folder of the version.
    config: the configuration of the model.
  """
  if config.num_classes:
    return Labels(config.num_classes, config.class_names)
  content = read(version).get(layout.LABELS)
  if not isinstance(content, dict) or not isinstance(content.get("number"), int):
    return Labels(0, ())
  return Labels(content["number"], tuple(map(str, content.get("names", ()))))
