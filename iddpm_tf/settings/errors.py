"""The library's one error for wrong input."""

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib


class InputError(ValueError):
  """Input that cannot be used: a setting, an argument, or a file.

  The text reads `NAME: expected ..., received ...`. The command line adds `--` where the name is
  one of its flags.

  Attributes:
    name: the name of the setting or argument, or the path of the file.
    message: what was expected and what was received, in one sentence.
    exit_status: the exit status of a command that ends with the error.
  """

  exit_status = 2

  # Keras turns an error inside a layer into one that lists the layer's arguments, unless the error
  # has this attribute.
  _keras_call_info_injected = True

  def __init__(self, name: object, message: str):
    super().__init__(name, message)
    self.name, self.message = str(name), message

  def __str__(self) -> str:
    return f"{self.name}: {self.message}"


def first_line(error: BaseException) -> str:
  """Returns the first line of an error of another library, at most 200 characters of it."""
  return (str(error).splitlines() or [type(error).__name__])[0][:200]


@contextlib.contextmanager
def renamed(names: Mapping[str, str]) -> Iterator[None]:
  """Raises each `InputError` of the block under another name.

  A function uses it around a call whose arguments have other names than its own.

  Args:
    names: `{name in the block: name outside}`. Other names stay.
  """
  try:
    yield
  except InputError as error:
    if error.name not in names:
      raise
    raise InputError(names[error.name], error.message) from error.__cause__
