"""Text that identifies a data set, for the names of files that depend on it."""

import dataclasses
import zlib

from iddpm_tf import config as config_lib

# Settings that do not change which images there are. They are not in the text, because files of
# earlier versions are named without them.
_IRRELEVANT = ("download", "class_names")
_FIRST_VERSION = 4  # Later settings are in the text where they change something.


def describe(data: config_lib.DataConfig) -> str:
  """Returns the settings of a data set as text, the same in every version of this package."""
  values = (
    f"{field.name}={getattr(data, field.name)!r}"
    for field in dataclasses.fields(data)
    if field.name not in _IRRELEVANT
    and (
      field.metadata["since"] <= _FIRST_VERSION
      or getattr(data, field.name) != field.metadata["old"]
    )
  )
  return f"DataConfig({', '.join(values)})"


def checksum(text: str) -> str:
  """Returns the CRC-32 of a text, as 8 hexadecimal digits."""
  return f"{zlib.crc32(text.encode()):08x}"
