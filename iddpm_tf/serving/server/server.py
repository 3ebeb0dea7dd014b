"""The whole development server."""

import contextlib
import errno
import socket

import uvicorn

from iddpm_tf import settings
from iddpm_tf.serving.server import grpc_server
from iddpm_tf.serving.server import models as models_lib
from iddpm_tf.serving.server import predictor as predictor_lib
from iddpm_tf.serving.server import rest_app

_GRACE = 30  # Seconds for requests that have begun.
_SPARE = 100  # Connections of REST beside those that wait for images; beyond, 503.


def run(options):
  """Serves until SIGINT or SIGTERM, which is raised again once all that had begun is answered.

  Args:
    options: `trainers.serve.Options`.

  Raises:
    ValueError: a port is taken, or the host is none of this machine's.
  """
  max_bytes = options.max_megabytes * 2**20
  models = models_lib.Models(options.models_dir, say=_say)
  predictor = predictor_lib.Predictor(
    models, max_batch=options.max_batch, max_queue=options.max_queue
  )
  with contextlib.ExitStack() as stack:
    listening = stack.enter_context(_listen(options.host, options.rest_port))
    host = f"[{options.host}]" if ":" in options.host else options.host  # Of IPv6.
    # The last to end: what has begun by either protocol is drawn.
    stack.callback(predictor.close)
    grpc, port = grpc_server.make(predictor, options.host, options.port, max_bytes)
    models.update()  # Before anything is answered.
    grpc.start()
    stack.callback(lambda: grpc.stop(_GRACE).wait())
    models.watch(options.poll_seconds)
    stack.callback(models.stop)
    _say(
      f"development server: gRPC at {host}:{port}, REST and a page to draw on at "
      f"http://{host}:{listening.getsockname()[1]}"
    )
    app = rest_app.make_app(predictor, max_bytes)
    uvicorn.Server(
      uvicorn.Config(
        app,
        log_level="warning",
        timeout_graceful_shutdown=_GRACE,
        limit_concurrency=options.max_queue + _SPARE,
      )
    ).run(sockets=[listening])


def _say(text):
  with contextlib.suppress(OSError, ValueError):  # Nobody may be there to hear it.
    print(text, flush=True)


def _listen(host, port):
  try:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(address[:2], family=family)
  except OSError as error:
    if error.errno in (errno.EADDRINUSE, errno.EACCES):
      raise settings.InputError(
        "rest_port", f"expected one that is free on {host}, received {port} ({error.strerror})"
      ) from None
    raise settings.InputError(
      "host", f"expected an address of this machine, received {host} ({error.strerror})"
    ) from None
