"""Settings of the development server. This module needs no TensorFlow."""

import dataclasses
import pathlib
import re

from iddpm_tf import settings

_HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|\*")
_MAX_POLL_SECONDS = 86_400
_MAX_MEGABYTES = 2047  # gRPC holds the number of bytes in an int32.


@dataclasses.dataclass(frozen=True)
class ServerConfig:
  """The settings of a development server.

  Attributes:
    models_dir: the folder of the exported models, `NAME/VERSION/`.
    host: the address to listen on.
    port: the port of gRPC, or 0 for a free port.
    rest_port: the port of REST and of the page, or 0 for a free port.
    max_batch: the largest number of images per request.
    max_queue: the largest number of requests that are drawn or wait. Further requests are refused.
    max_megabytes: the largest size of a request.
    poll_seconds: the time between two searches for new versions.
    allowed_hosts: names by which clients by REST may call the server, besides localhost, `host`,
      IP addresses and this machine's own names; `*` allows any name.
  """

  models_dir: str = settings.setting("saved_models", "folder of the exported models")
  host: str = settings.setting("127.0.0.1", "address to listen on", remote=True)
  port: int = settings.setting(8500, "port of gRPC; 0: a free port")
  rest_port: int = settings.setting(8501, "port of REST and of the page; 0: a free port")
  max_batch: int = settings.setting(64, "largest number of images per request")
  max_queue: int = settings.setting(
    32,
    "largest number of requests that are drawn or wait; the server refuses further requests with "
    "RESOURCE_EXHAUSTED or 429",
  )
  max_megabytes: int = settings.setting(16, "largest size of a request")
  poll_seconds: float = settings.setting(2.0, "time between two searches for new versions")
  allowed_hosts: tuple[str, ...] = settings.setting(
    (),
    "names by which clients by REST may call the server, besides localhost, IP addresses and this "
    "machine's own names; *: any name",
    remote=True,
  )

  def __post_init__(self) -> None:
    settings.convert(self)
    settings.require_positive(self, "max_batch", "max_queue", "max_megabytes", "poll_seconds")
    settings.require(
      self.poll_seconds <= _MAX_POLL_SECONDS,
      "poll_seconds",
      f"at most {_MAX_POLL_SECONDS}",
      self.poll_seconds,
    )
    settings.require(
      self.max_megabytes <= _MAX_MEGABYTES,
      "max_megabytes",
      f"at most {_MAX_MEGABYTES}",
      self.max_megabytes,
    )
    for name in ("port", "rest_port"):
      port = getattr(self, name)
      settings.require(0 <= port < 2**16, name, "a number from 0 to 65535", port)

    settings.require(
      all(_HOST_NAME.fullmatch(name) for name in self.allowed_hosts),
      "allowed_hosts",
      "names of hosts without a scheme and a port, or *",
      self.allowed_hosts,
    )

  def require_models_dir(self) -> None:
    """Raises an `InputError` unless the folder of the models exists."""
    settings.require(
      pathlib.Path(self.models_dir).is_dir(), "models_dir", "an existing folder", self.models_dir
    )
