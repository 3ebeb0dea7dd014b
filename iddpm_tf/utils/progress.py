"""Progress bars and messages of long work.

Library functions take a `Progress` and tell it what they do. A terminal, a notebook and a test each
show it in their own way.
"""

from collections.abc import Callable
import datetime
import json
import sys
import time
from types import TracebackType
from typing import IO
from typing import Any
from typing import Protocol

from tqdm import auto

from iddpm_tf import settings

_SECONDS = 10.0  # Between two lines of a bar in a log.


class Bar(Protocol):
  """One progress bar, used in a `with` block."""

  total: float | None

  def update(self, n: float = 1) -> object:
    """Adds `n` to what is done."""

  def set_postfix_str(self, s: str = "") -> object:
    """Shows a short text beside the bar."""

  def __enter__(self) -> "Bar": ...

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
  ) -> object: ...


class Progress(Protocol):
  """Shows what long work does."""

  def bar(self, *, total: float, unit: str, initial: float = 0, description: str = "") -> Bar:
    """Returns a bar of `total` units, of which `initial` are done."""

  def say(self, text: str) -> None:
    """Shows one line."""


class Console:
  """Shows bars on the error stream, or as widgets in a notebook, and lines on the output stream."""

  def bar(self, *, total: float, unit: str, initial: float = 0, description: str = "") -> Bar:
    """Returns a tqdm bar with the rate and the time left. A log file gets a line every 10 s."""
    terminal = sys.stderr.isatty()
    return auto.tqdm(
      total=total,
      initial=initial,
      unit=unit,
      desc=description or None,
      dynamic_ncols=terminal,
      mininterval=0.5 if terminal else _SECONDS,
      file=sys.stderr,
    )

  def say(self, text: str) -> None:
    """Prints one line."""
    print(text, flush=True)


class _SilentBar:
  total: float | None = None

  def update(self, n: float = 1) -> None:
    pass

  def set_postfix_str(self, s: str = "") -> None:
    pass

  def __enter__(self) -> "_SilentBar":
    return self

  def __exit__(self, *_: object) -> None:
    pass


class Silent:
  """Shows nothing."""

  def bar(self, *, total: float, unit: str, initial: float = 0, description: str = "") -> Bar:
    """Returns a bar that shows nothing."""
    return _SilentBar()

  def say(self, text: str) -> None:
    """Shows nothing."""


class JsonLines:
  """Writes each line, and how far the bars are, as an object of JSON, for collectors of logs.

  A line has `time`, `level` (info or warning) and `message`; a bar has `description`, `unit`,
  `done`, `total` and `text`, at most every ten seconds and at its end.
  """

  def __init__(self, stream: IO[str] | None = None):
    """Writes to a stream; None is the output stream."""
    self._stream = stream

  def bar(self, *, total: float, unit: str, initial: float = 0, description: str = "") -> Bar:
    """Returns a bar that writes how far it is."""
    return _JsonBar(self._write, total, unit, initial, description)

  def say(self, text: str) -> None:
    """Writes one line."""
    level, _, rest = text.partition(": ")
    if level in ("warning", "note") and rest:
      self._write(level="warning" if level == "warning" else "info", message=rest)
    else:
      self._write(level="info", message=text)

  def _write(self, **content: Any) -> None:
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
    print(json.dumps({"time": now, **content}), file=self._stream or sys.stdout, flush=True)


class _JsonBar:
  def __init__(
    self,
    write: Callable[..., None],
    total: float | None,
    unit: str,
    initial: float,
    description: str,
  ):
    self.total, self._write, self._done, self._text = total, write, initial, ""
    self._fixed = {"level": "info", "description": description or unit, "unit": unit}
    self._next = 0.0

  def update(self, n: float = 1) -> None:
    self._done += n
    if time.monotonic() >= self._next:
      self._next = time.monotonic() + _SECONDS
      self._show()

  def set_postfix_str(self, s: str = "") -> None:
    self._text = s

  def _show(self) -> None:
    self._write(**self._fixed, done=self._done, total=self.total, text=self._text)

  def __enter__(self) -> "_JsonBar":
    return self

  def __exit__(self, *_: object) -> None:
    self._show()


LOG_FORMATS: dict[str, Callable[[], "Progress"]] = {"text": Console, "json": JsonLines}


def make(progress: "bool | Progress") -> Progress:
  """Returns a `Progress`: the one given, `Console()` for True, or `Silent()` for False."""
  if isinstance(progress, bool):
    return Console() if progress else Silent()
  if not hasattr(progress, "bar"):
    message = f"expected True, False or a Progress, received {progress!r}"
    raise settings.InputError("progress", message)
  return progress
