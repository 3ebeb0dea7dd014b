"""The development server: both interfaces, the queue, and the search for new versions."""

import contextlib
import errno
import os
import socket

from starlette import types
import uvicorn

from iddpm_tf import settings
from iddpm_tf.serving.server import config as config_lib
from iddpm_tf.serving.server import grpc_server
from iddpm_tf.serving.server import host_check
from iddpm_tf.serving.server import http_connection
from iddpm_tf.serving.server import model_manager
from iddpm_tf.serving.server import predictor as predictor_lib
from iddpm_tf.serving.server import request_limit
from iddpm_tf.serving.server import rest_app
from iddpm_tf.utils import progress as progress_lib

_GRACE_SECONDS = 30  # The time that requests in progress have when the server stops.
# REST requests in progress besides those that wait for images. Further ones are answered with 503.
_EXTRA_REQUESTS = 100
# Connections that are accepted at once. With those that are open, they must not exceed the number
# of files that a process may open.
_BACKLOG = 128

_CONSOLE = progress_lib.Console()


def run(config: config_lib.ServerConfig, *, progress: progress_lib.Progress = _CONSOLE) -> None:
  """Runs a server until SIGINT or SIGTERM.

  The signal is raised again after the requests in progress have been answered.

  Args:
    config: the settings of the server.
    progress: is told where the server listens and which models it loads.

  Raises:
    InputError: the folder does not exist, a port is taken, or the host is not an address of this
      machine.
  """
  config.require_models_dir()
  max_bytes = config.max_megabytes * 2**20
  models = model_manager.ModelManager(config.models_dir, progress=progress)
  predictor = predictor_lib.Predictor(
    models, max_batch=config.max_batch, max_queue=config.max_queue
  )
  os.listdir(config.models_dir)  # A folder that cannot be read is an error only at the start.
  with contextlib.ExitStack() as stack:
    rest_socket = stack.enter_context(_listen(config.host, config.rest_port))
    # The predictor is closed last, after both interfaces have answered.
    stack.callback(predictor.close)
    grpc, port = grpc_server.make(predictor, config.host, config.port, max_bytes)

    def say_address() -> None:
      host = f"[{config.host}]" if ":" in config.host else config.host  # An address of IPv6.
      with contextlib.suppress(OSError, ValueError):  # The output may have been closed.
        progress.say(
          f"development server: gRPC at {host}:{port}, REST and a page to draw on at "
          f"http://{host}:{rest_port}"
        )

    rest_port = rest_socket.getsockname()[1]
    stack.callback(lambda: grpc.stop(_GRACE_SECONDS).wait())
    stack.callback(models.stop)
    # Both interfaces already answer while the models are loaded, with UNAVAILABLE.
    models.watch(config.poll_seconds, say_address)
    grpc.start()
    rest = uvicorn.Config(
      _guarded(rest_app.make_app(predictor, max_bytes), config),
      http=http_connection.Connection,
      ws="none",
      log_level="warning",
      timeout_graceful_shutdown=_GRACE_SECONDS,
      backlog=_BACKLOG,
    )
    uvicorn.Server(rest).run(sockets=[rest_socket])


def _guarded(app: types.ASGIApp, config: config_lib.ServerConfig) -> types.ASGIApp:
  """Returns an application that refuses foreign requests and too many requests."""
  limited = request_limit.RequestLimit(
    app,
    config.max_queue + _EXTRA_REQUESTS,
    unlimited=(rest_app.HEALTH, rest_app.METRICS),
  )
  names = {config.host, *config.allowed_hosts, *host_check.names_of_this_machine()}
  return host_check.HostCheck(limited, names)


def _listen(host: str, port: int) -> socket.socket:
  try:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(address[:2], family=family)
  except OSError as error:
    if error.errno in (errno.EADDRINUSE, errno.EACCES):
      raise settings.InputError(
        "rest_port", f"expected a free port of {host}, received {port} ({error.strerror})"
      ) from None
    raise settings.InputError(
      "host", f"expected an address of this machine, received {host} ({error.strerror})"
    ) from None
