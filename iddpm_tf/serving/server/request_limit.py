"""A limit on the number of requests by HTTP that are in progress."""

from collections.abc import Collection

from starlette import types

from iddpm_tf.serving.server import errors
from iddpm_tf.serving.server import rest_response


class RequestLimit:
  """An ASGI application that refuses requests while too many others are in progress.

  A request that waits for its client, to send the rest or to take the answer, is not in progress:
  slow clients keep nobody out. Connections do not count.
  """

  def __init__(self, app: types.ASGIApp, limit: int, *, unlimited: Collection[str] = ()):
    """Makes the application.

    Args:
      app: the application that answers the requests.
      limit: the largest number of requests that are in progress.
      unlimited: the paths that are always answered, such as that of a health check.
    """
    self._app, self._limit, self._unlimited = app, limit, frozenset(unlimited)
    self._in_progress = 0

  async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
    """Refuses a request with 503, or lets the application answer it."""
    if scope["type"] != "http" or scope["path"] in self._unlimited:
      await self._app(scope, receive, send)
      return
    if self._in_progress >= self._limit:
      error = errors.RequestError(
        "UNAVAILABLE", f"{self._limit} requests are in progress: send the request again later"
      )
      await rest_response.of_error(error)(scope, receive, send)
      return

    async def receive_uncounted() -> types.Message:
      self._in_progress -= 1
      try:
        return await receive()
      finally:
        self._in_progress += 1

    async def send_uncounted(message: types.Message) -> None:
      self._in_progress -= 1
      try:
        await send(message)
      finally:
        self._in_progress += 1

    self._in_progress += 1
    try:
      await self._app(scope, receive_uncounted, send_uncounted)
    finally:
      self._in_progress -= 1
