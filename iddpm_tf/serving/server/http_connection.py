"""A connection by HTTP that is closed when its client keeps the server waiting for too long.

uvicorn itself only limits how long a connection may be idle between two requests. The time for the
content of a request is limited where it is read, in `rest_app`.
"""

import asyncio
from typing import cast

from uvicorn.protocols.http import h11_impl

# The time for a whole header, from the connection or from the first byte after an answer. What is
# left of a request that was answered early counts towards it.
_HEADER_SECONDS = 10
_STALLED_SECONDS = 300  # The time in which a client must take at least some of its answer.
# Beyond this number of connections, the one that has waited longest for a header is closed. A
# process may often have no more than 1024 open files.
_MAX_CONNECTIONS = 500


class Connection(h11_impl.H11Protocol):
  """A connection with time limits for the header of a request and for taking the answer."""

  _header_timer: asyncio.TimerHandle | None = None
  _stalled_timer: asyncio.TimerHandle | None = None

  def connection_made(self, transport: asyncio.BaseTransport) -> None:
    """Begins to wait for a header."""
    super().connection_made(cast(asyncio.Transport, transport))
    self._wait_for_header()
    if len(self.connections) > _MAX_CONNECTIONS:
      self._close_longest_waiting()

  def data_received(self, data: bytes) -> None:
    """Handles data. The time limit holds until the header is complete."""
    super().data_received(data)
    if self.cycle and not self.cycle.response_complete:
      self._end_wait()
    elif self._header_timer is None:
      self._wait_for_header()

  def connection_lost(self, exc: Exception | None) -> None:
    """Ends the time limits."""
    self._end_wait()
    self._end_watch()
    super().connection_lost(exc)

  def pause_writing(self) -> None:
    """Begins to watch whether the client takes its answer."""
    super().pause_writing()
    self._watch_writing()

  def resume_writing(self) -> None:
    """Ends the watch, because the client has taken enough."""
    self._end_watch()
    super().resume_writing()

  def _wait_for_header(self) -> None:
    if not self.transport.is_closing():
      self._header_timer = self.loop.call_later(_HEADER_SECONDS, self._close)

  def _end_wait(self) -> None:
    if self._header_timer:
      self._header_timer.cancel()
      self._header_timer = None

  def _close(self) -> None:
    """Closes the connection once the answers that are written have been sent."""
    self._end_wait()
    self.transport.close()

  def _close_longest_waiting(self) -> None:
    waiting = [
      (connection._header_timer.when(), connection)
      for connection in self.connections
      if isinstance(connection, Connection) and connection._header_timer
    ]
    if waiting:
      min(waiting, key=lambda item: item[0])[1]._close()

  def _watch_writing(self) -> None:
    """Ends the connection unless its client takes some of the answer within the time limit."""
    left = self.transport.get_write_buffer_size()

    def check() -> None:
      if self.transport.get_write_buffer_size() < left:
        self._watch_writing()
      else:
        self.transport.abort()

    self._stalled_timer = self.loop.call_later(_STALLED_SECONDS, check)

  def _end_watch(self) -> None:
    if self._stalled_timer:
      self._stalled_timer.cancel()
      self._stalled_timer = None
