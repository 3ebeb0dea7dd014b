"""Signals that ask a command to stop."""

import contextlib
import signal


class Stopped(KeyboardInterrupt):
  """SIGINT or SIGTERM came."""

  @property
  def status(self):
    """Of the process, as shells have it."""
    return 128 + self.signal

  @property
  def signal(self):
    return self.args[0]


@contextlib.contextmanager
def raised():
  """SIGINT and SIGTERM raise `Stopped`, wherever the main thread is."""

  def stop(number, _):
    raise Stopped(signal.Signals(number))

  before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
