"""Flagfiles: settings in a file, one `--name=value` per line.

Blank lines and lines that begin with `#` or `//` are ignored. A line `--flagfile=PATH`
stands for the lines of another flagfile.
"""

from collections.abc import Iterable
from collections.abc import Iterator
import os
import pathlib
import re

from iddpm_tf.settings.arguments import Argument
from iddpm_tf.settings.arguments import in_parentheses
from iddpm_tf.settings.errors import InputError
from iddpm_tf.settings.fields import require_local

SETTING = "flagfile"
_FLAGFILE = re.compile(rf"--?{SETTING}(=(?P<path>.*))?")
_PACKAGE = pathlib.Path(__file__).parents[1]


def expand(arguments: Iterable[str]) -> list[Argument]:
  """Returns the arguments, with the lines of each flagfile in its place.

  A path is looked up in the working folder, and then among the flagfiles of this package, whose
  paths begin with `configs/`. A path in a flagfile is first looked up beside that file, and in the
  folders above it, so that a flagfile means the same in every working folder.

  Raises:
    InputError: there is no such file, it cannot be read, it leads back to itself, or a line of it
      is not a setting.
  """
  return list(_expanded((Argument(text) for text in arguments), ()))


def read(path: str | os.PathLike[str]) -> list[Argument]:
  """Returns the lines of a flagfile as arguments; `expand` says where the file is looked up."""
  return list(_lines(os.fspath(path), "", ()))


def named_by(arguments: Iterable[str]) -> list[str]:
  """Returns the paths of the flagfiles that a command line names, in order, as given."""
  paths, remaining = [], iter(arguments)
  for argument in remaining:
    if match := _FLAGFILE.fullmatch(argument):
      paths.append(next(remaining, "") if match["path"] is None else match["path"])
  return paths


def _expanded(
  arguments: Iterator[Argument], parents: tuple[pathlib.Path, ...]
) -> Iterator[Argument]:
  """Yields arguments; `parents` are the flagfiles that lead to them, outermost first."""
  for argument in arguments:
    match = _FLAGFILE.fullmatch(argument.text)
    if not match:
      yield argument
      continue
    path = match["path"]
    if path is None and not parents:
      path = next(arguments, Argument("")).text
    if not path:
      raise _error("a path", "nothing", argument.where)
    yield from _lines(path, argument.where, parents)


def _lines(name: str, where: str, parents: tuple[pathlib.Path, ...]) -> Iterator[Argument]:
  path = _found(name, where, parents)
  if path.resolve() in [parent.resolve() for parent in parents]:
    raise _error("a file that does not lead back to itself", path, where)
  try:
    lines = path.read_text(encoding="utf-8-sig").splitlines()
  except (OSError, UnicodeError) as error:
    reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
    raise _error("a file that can be read", f"{path} ({reason})", where) from None
  arguments = []
  for number, line in enumerate(map(str.strip, lines), start=1):
    if line and not line.startswith(("#", "//")):
      argument = Argument(line, f"{path}, line {number}")
      if not line.startswith("-"):
        raise InputError(
          argument.where, f"expected a setting of the form --name=value, received {line!r}"
        )
      arguments.append(argument)
  yield from _expanded(iter(arguments), (*parents, path))


def _found(name: str, where: str, parents: tuple[pathlib.Path, ...]) -> pathlib.Path:
  require_local(SETTING, name, in_parentheses(where))
  given = pathlib.Path(name).expanduser()
  if given.is_absolute():
    candidates = [given]
  else:
    folders = parents[-1].resolve().parents if parents else ()
    candidates = [*(folder / given for folder in folders), given]
    if given.parts[:1] == ("configs",):
      candidates.append(_installed() / pathlib.Path(*given.parts[1:]))
  for candidate in candidates:
    if candidate.exists():
      return candidate
  raise _error("a file that exists", name, where)


def _installed() -> pathlib.Path:
  """Returns the folder of this package's flagfiles: in an installed one, or beside its source."""
  inside = _PACKAGE / "configs"
  return inside if inside.is_dir() else _PACKAGE.parent / "configs"


def _error(expected: str, received: object, where: str) -> InputError:
  return InputError(SETTING, f"expected {expected}, received {received}{in_parentheses(where)}")
