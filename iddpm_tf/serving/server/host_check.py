"""The refusal of requests that a page of another site may have sent.

A browser sends requests to this machine for every page it shows. A page can also let a name of its
own site lead to this machine (DNS rebinding), and then read the answers. The browser says in `Host`
by which name it has found the server, and in `Origin` from where the page is. Pages cannot change
these headers.
"""

from collections.abc import Iterable
import ipaddress
import re
import socket
from typing import NamedTuple

from starlette import datastructures
from starlette import types

from iddpm_tf.serving.server import errors
from iddpm_tf.serving.server import rest_response

ANY_HOST = "*"
_ADDRESS = r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^\s\[\]:/?#@]+)(?::(?P<port>[0-9]{0,5}))?"
_HOST = re.compile(_ADDRESS)
_ORIGIN = re.compile(rf"(?P<scheme>https?)://{_ADDRESS}")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LONGEST = 100  # Characters of a header in an error.


class _Origin(NamedTuple):
  scheme: str
  name: str
  port: int


class HostCheck:
  """An ASGI application that refuses requests of foreign hosts and of foreign origins.

  A host is foreign unless it is localhost, an IP address, or among the given names. An origin is
  foreign unless its scheme, host and port are those of the request.
  """

  def __init__(self, app: types.ASGIApp, hosts: Iterable[str]):
    """Makes the application.

    Args:
      app: the application that answers the requests.
      hosts: the names by which the server may be called besides localhost, or `*` for any name.
    """
    self._app = app
    self._hosts = {"localhost", *(_normalized(host) for host in hosts)}

  async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
    """Refuses a request with 403, or lets the application answer it."""
    try:
      if scope["type"] == "http":
        self._check(scope["scheme"], datastructures.Headers(scope=scope))
    except errors.RequestError as error:
      await rest_response.of_error(error)(scope, receive, send)
    else:
      await self._app(scope, receive, send)

  def _check(self, scheme: str, headers: datastructures.Headers) -> None:
    host = headers.get("host")
    # All browsers send Host. A simple program that speaks HTTP/1.0 may not.
    match = None if host is None else _HOST.fullmatch(host)
    if host is not None and not (match and self._is_known(match["name"])):
      raise _foreign(
        "Host", "localhost, an IP address, a name of this machine, or one of allowed_hosts", host
      )
    for origin in headers.getlist("origin"):
      other = _ORIGIN.fullmatch(origin)
      if not (match and other and _origin(scheme, match) == _origin(other["scheme"], other)):
        raise _foreign("Origin", f"none, or that of this server, {scheme}://{host}", origin)

  def _is_known(self, name: str) -> bool:
    return ANY_HOST in self._hosts or _normalized(name) in self._hosts or _is_address(name)


def names_of_this_machine() -> set[str]:
  """Returns the names that this machine has for itself."""
  return {socket.gethostname(), socket.getfqdn()}


def _normalized(name: str) -> str:
  return name.lower().removesuffix(".")


def _is_address(name: str) -> bool:
  """Returns whether a host is an IP address, which no name of another site can be."""
  try:
    ipaddress.ip_address(name.strip("[]"))
  except ValueError:
    return False
  return True


def _origin(scheme: str, match: re.Match[str]) -> _Origin:
  port = int(match["port"] or _DEFAULT_PORTS.get(scheme, 0))
  return _Origin(scheme, _normalized(match["name"]), port)


def _foreign(header: str, expected: str, received: str) -> errors.RequestError:
  message = f"{header}: expected {expected}, received {received[:_LONGEST]!r}"
  return errors.RequestError("PERMISSION_DENIED", message)
