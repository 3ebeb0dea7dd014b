"""Records in the output folder: one file `done/NAME.json` per finished task, and `scale.json`."""

from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import pathlib
import re
from typing import Any
from typing import NamedTuple

from iddpm_tf import settings
from iddpm_tf.utils import files

_FOLDER = "done"
_SCALE = "scale.json"
_FLOAT32 = "float32"  # Of all flagfiles, and of folders without a record.


class ScaleRecord(NamedTuple):
  """The scale of an output folder.

  Attributes:
    name: the scale's name.
    features: the path of the feature extractor for FID, or None if there is none yet.
    precision: the arithmetic of all networks.
  """

  name: str
  features: str | None
  precision: str = _FLOAT32


def read_scale(output: pathlib.Path) -> ScaleRecord | None:
  """Returns the scale with which an output folder was made, or None where there is no record.

  Raises:
    InputError: the record is not legible.
  """
  file = output / _SCALE
  if not file.exists():
    return None
  try:
    content = files.read_json(file)
    return ScaleRecord(content["scale"], content["features"], content.get("precision", _FLOAT32))
  except (ValueError, KeyError, TypeError):
    message = "expected a record of trainers.reproduce, received other content"
    raise settings.InputError(str(file), message) from None


def write_scale(output: pathlib.Path, scale: ScaleRecord) -> None:
  """Writes the scale with which an output folder is made."""
  precision = {"precision": scale.precision} if scale.precision != _FLOAT32 else {}
  content = {"scale": scale.name, "features": scale.features, **precision}
  files.write_json(output / _SCALE, content)


@contextlib.contextmanager
def removed_if_empty(output: pathlib.Path) -> Iterator[None]:
  """Removes the output folder after the block if it has no more than the record of its scale.

  No other process may write to the folder meanwhile.
  """
  try:
    yield
  finally:
    if [file.name for file in output.iterdir()] == [_SCALE]:
      (output / _SCALE).unlink()
    with contextlib.suppress(OSError):  # The folder stays unless it is empty.
      output.rmdir()


def path(output: pathlib.Path, name: str) -> pathlib.Path:
  """Returns the path of the record of the task `name`."""
  return output / _FOLDER / f"{name}.json"


def read(output: pathlib.Path, name: str) -> list[str] | None:
  """Returns what was recorded of a task, or None where there is no legible record."""
  return _content(path(output, name)).get("record")


class Time(NamedTuple):
  """How long tasks took, one after the other.

  Attributes:
    seconds: the seconds that are known.
    is_whole: whether they are all; of a task that was resumed, only the last part is known.
  """

  seconds: float = 0.0
  is_whole: bool = True


def time_of(output: pathlib.Path, names: Iterable[str]) -> Time:
  """Returns how long some tasks took."""
  contents = [_content(path(output, name)) for name in names]
  whole = all("seconds" in content and not content.get("resumed") for content in contents)
  return Time(sum(content.get("seconds", 0.0) for content in contents), whole)


def write(
  output: pathlib.Path, name: str, record: list[str], *, seconds: float, resumed: bool
) -> None:
  """Writes the record of a finished task.

  Args:
    output: the output folder.
    name: the task's name.
    record: what distinguishes the task from other tasks of this name, as `tasks.Task.record` says.
    seconds: how long the task took.
    resumed: whether the task continued earlier work, so that `seconds` is only a part of its time.
  """
  file = path(output, name)
  file.parent.mkdir(parents=True, exist_ok=True)
  files.write_json(file, {"record": record, "seconds": seconds, "resumed": resumed})


def group(name: str) -> str:
  """Returns a task's name without its seed. Tasks of one group take about the same time."""
  return re.sub(r"_seed\d+", "", name)


def seconds_by_group(output: pathlib.Path) -> dict[tuple[str, str], list[float]]:
  """Returns how long the finished tasks took, except for resumed ones.

  Returns:
    `{(command, group): seconds of each task}`.
  """
  times: dict[tuple[str, str], list[float]] = {}
  for file in sorted((output / _FOLDER).glob("*.json")):
    content = _content(file)
    if isinstance(seconds := content.get("seconds"), float) and not content.get("resumed"):
      command = (content.get("record") or [""])[0]
      times.setdefault((command, group(file.stem)), []).append(seconds)
  return times


def _content(file: pathlib.Path) -> dict[str, Any]:
  """Reads a record; empty where there is none, or only a part of one."""
  try:
    content = files.read_json(file)
  except (OSError, ValueError):
    return {}
  return content if isinstance(content, dict) else {}
