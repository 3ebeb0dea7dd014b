"""Checks of the addresses of servers. This module needs no package but the library itself."""

import re

from iddpm_tf import settings

_ADDRESS = r"(?:\[[0-9A-Fa-f:.]+\]|[^][\s:/@]+):([0-9]{1,5})"


def require_server(address: str | None, url: str | None) -> None:
  """Raises an `InputError` unless either an address or a URL is given, and the address is valid."""
  if not address and not url:
    raise settings.InputError(
      "address", "expected HOST:PORT of a server (or its url), received neither"
    )
  if address and url:
    raise settings.InputError("address", "cannot be combined with url")
  if address:
    require_address(address)


def require_address(address: str) -> None:
  """Raises an `InputError` unless an address is `HOST:PORT`, where an IPv6 host is in brackets."""
  match = re.fullmatch(_ADDRESS, address)
  # gRPC itself would take a port out of range for another port.
  settings.require(match and 0 < int(match[1]) < 2**16, "address", "HOST:PORT", address)
