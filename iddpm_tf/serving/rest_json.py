"""Tensors as JSON, in the format of TensorFlow Serving's REST interface.

A tensor is a number or nested lists of numbers. Bytes are written as `{"b64": "..."}`.
"""

import base64
import binascii
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import numpy as np

from iddpm_tf import settings

_BYTES = "b64"


def encode(array: np.ndarray) -> Any:
  """Returns an array as nested lists, with base64 objects for bytes."""
  array = np.asarray(array)
  if array.dtype == object or array.dtype.kind == "S":
    return _map(array.tolist(), lambda value: {_BYTES: base64.b64encode(value).decode()})
  return array.tolist()


def decode(value: Any, name: str) -> Any:
  """Returns nested lists with bytes in place of base64 objects.

  Args:
    value: a parsed JSON value.
    name: the name of the tensor in errors.

  Raises:
    InputError: an object is not base64, or a value is true or false.
  """
  return _map(value, lambda element: _decode_element(element, name))


def _decode_element(value: Any, name: str) -> Any:
  if isinstance(value, bool):  # Python would take it for a number.
    raise settings.InputError(name, f"expected numbers, received {str(value).lower()}")
  if not isinstance(value, dict):
    return value
  try:
    (key,) = value
    if key != _BYTES:
      raise ValueError(key)
    return base64.b64decode(value[key], validate=True)
  except (TypeError, ValueError, binascii.Error):
    raise settings.InputError(
      name, f'expected {{"{_BYTES}": BASE64}}, received {str(value)[:100]}'
    ) from None


def instances_to_inputs(instances: Any) -> dict[str, Any]:
  """Converts the row format of a request (`instances`) to the column format (`inputs`).

  Args:
    instances: a list of `{name: value}`, or a list of values of the only input.

  Returns:
    `{name: list of values}`. The name of an only input is empty.

  Raises:
    InputError: the rows have different names, or there is no list.
  """
  if not isinstance(instances, list):
    received = type(instances).__name__
    raise settings.InputError("instances", f"expected a list, received {received}")
  if not instances or not isinstance(instances[0], dict) or set(instances[0]) == {_BYTES}:
    return {"": instances}
  names = instances[0].keys()
  for row in instances:
    if not isinstance(row, dict) or row.keys() != names:
      raise settings.InputError(
        "instances", f"expected {', '.join(sorted(names))} in each row, received {str(row)[:100]}"
      )
  return {name: [row[name] for row in instances] for name in names}


def outputs_to_predictions(outputs: Mapping[str, list[Any]]) -> list[Any]:
  """Converts the column format of an answer (`outputs`) to the row format (`predictions`).

  The rows of an only output are its values.
  """
  if len(outputs) == 1:
    return next(iter(outputs.values()))
  return [dict(zip(outputs, row)) for row in zip(*outputs.values())]


def _map(value: Any, function: Callable[[Any], Any]) -> Any:
  return [_map(item, function) for item in value] if isinstance(value, list) else function(value)
