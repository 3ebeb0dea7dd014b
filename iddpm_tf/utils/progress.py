"""Progress bars and messages of long work.

Library functions take a `Progress` and tell it what they do. A terminal, a notebook and a test each
show it in their own way.
"""

import sys
from types import TracebackType
from typing import Protocol

from tqdm import auto

from iddpm_tf import settings


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
      mininterval=0.5 if terminal else 10.0,
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


def make(progress: "bool | Progress") -> Progress:
  """Returns a `Progress`: the one given, `Console()` for True, or `Silent()` for False."""
  if isinstance(progress, bool):
    return Console() if progress else Silent()
  if not hasattr(progress, "bar"):
    message = f"expected True, False or a Progress, received {progress!r}"
    raise settings.InputError("progress", message)
  return progress
