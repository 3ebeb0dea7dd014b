"""Tensors as TensorFlow Serving's REST interface has them: nested lists, bytes as {"b64": ...}."""

import base64
import binascii

import numpy as np

from iddpm_tf import settings

_BYTES = "b64"


def encoded(array):
  """What JSON has of an array."""
  array = np.asarray(array)
  if array.dtype == object or array.dtype.kind == "S":
    return _mapped(array.tolist(), lambda value: {_BYTES: base64.b64encode(value).decode()})
  return array.tolist()


def decoded(value):
  """Nested lists, with bytes in place of {"b64": ...}; `ValueError` for base64 that is none, and for truth values."""
  return _mapped(value, _decode)


def _decode(value):
  if isinstance(value, bool):  # Which Python takes for numbers.
    raise ValueError(f"expected numbers, received {str(value).lower()}")
  if not isinstance(value, dict):
    return value
  try:
    (name,) = value
    return base64.b64decode(value[name] if name == _BYTES else None, validate=True)
  except (TypeError, ValueError, binascii.Error):
    raise ValueError(
      f'expected {{"{_BYTES}": ...}} of base64, received {str(value)[:100]}'
    ) from None


def columns(rows):
  """{name: list} of a list of {name: value}, or of values of an only input (name ""): `instances` as `inputs`.

  Raises:
    ValueError: rows of other names.
  """
  if not isinstance(rows, list):
    raise settings.InputError("instances", f"expected a list, received {type(rows).__name__}")
  if not rows or not isinstance(rows[0], dict) or set(rows[0]) == {_BYTES}:
    return {"": rows}
  for row in rows:
    if not isinstance(row, dict) or set(row) != set(rows[0]):
      raise settings.InputError(
        "instances", f"expected {', '.join(sorted(rows[0]))} in each, received {str(row)[:100]}"
      )
  return {name: [row[name] for row in rows] for name in rows[0]}


def rows(arrays):
  """The reverse, of encoded outputs: `predictions`."""
  if len(arrays) == 1:
    return next(iter(arrays.values()))
  return [dict(zip(arrays, row)) for row in zip(*arrays.values())]


def _mapped(value, function):
  return [_mapped(item, function) for item in value] if isinstance(value, list) else function(value)
