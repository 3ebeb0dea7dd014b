"""Signals that ask a command to stop."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import os
import pathlib
import signal
import sys
import threading
from types import FrameType


class Stopped(KeyboardInterrupt):
  """SIGINT or SIGTERM was received."""

  @property
  def status(self) -> int:
    """The exit status of a process that the signal ends, as shells report it."""
    return 128 + self.signal

  @property
  def signal(self) -> signal.Signals:
    """The signal."""
    return self.args[0]


@contextlib.contextmanager
def exits_at_once(descriptor: int) -> Iterator[None]:
  """Ends the process when SIGINT or SIGTERM is received in the main thread of the block.

  It is for imports: an exception in the middle of one may come out as another one.

  Args:
    descriptor: of the file that gets the line that says so.
  """

  def leave(number: int, _: FrameType | None) -> None:
    name = pathlib.Path(sys.argv[0]).stem
    os.write(descriptor, f"{name}: stopped by {signal.Signals(number).name}\n".encode())
    os._exit(128 + number)

  if threading.current_thread() is not threading.main_thread():
    yield
    return
  with _answered_by(leave):
    yield


@contextlib.contextmanager
def raised() -> Iterator[None]:
  """Raises `Stopped` in the main thread of the block when SIGINT or SIGTERM is received."""

  def stop(number: int, _: FrameType | None) -> None:
    raise Stopped(signal.Signals(number))

  with _answered_by(stop):
    yield


@contextlib.contextmanager
def _answered_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
  """Lets a function answer SIGINT and SIGTERM while the block runs."""
  before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
  try:
    yield
  finally:
    for number, earlier in before.items():
      signal.signal(number, earlier)
