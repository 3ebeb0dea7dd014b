"""Signals that ask a command to stop."""

from collections.abc import Iterator
import contextlib
import signal
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
def raised() -> Iterator[None]:
  """Raises `Stopped` in the main thread of the block when SIGINT or SIGTERM is received."""

  def stop(number: int, _: FrameType | None) -> None:
    raise Stopped(signal.Signals(number))

  before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
