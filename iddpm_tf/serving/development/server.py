"""The whole development server."""

import contextlib
import socket

import uvicorn

from iddpm_tf.serving.development import grpc_server
from iddpm_tf.serving.development import models as models_lib
from iddpm_tf.serving.development import predictor as predictor_lib
from iddpm_tf.serving.development import rest_app

_GRACE = 30  # Seconds for requests that have begun.


def run(options):
  """Serves until SIGINT or SIGTERM, which is raised again once all that had begun is answered.

  Args:
    options: `trainers.serve.Options`.

  Raises:
    ValueError: a port is taken.
  """
  max_bytes = options.max_megabytes * 2 ** 20
  models = models_lib.Models(options.models_dir, say=lambda text: print(text, flush=True))
  predictor = predictor_lib.Predictor(models, max_batch=options.max_batch, max_queue=options.max_queue)
  with contextlib.ExitStack() as stack:
    listening = stack.enter_context(_listen(options.host, options.rest_port))
    # The last to end: what has begun by either protocol is drawn.
    stack.callback(predictor.close)
    grpc, port = grpc_server.start(predictor, options.host, options.port, max_bytes)
    stack.callback(lambda: grpc.stop(_GRACE).wait())
    models.poll()
    models.watch(options.poll_seconds)
    stack.callback(models.stop)
    print(f"development server: gRPC at {options.host}:{port}, REST and a page to draw on at "
          f"http://{options.host}:{listening.getsockname()[1]}", flush=True)
    app = rest_app.make_app(predictor, max_bytes)
    uvicorn.Server(uvicorn.Config(
        app, log_level="warning", timeout_graceful_shutdown=_GRACE)).run(sockets=[listening])


def _listen(host, port):
  found = socket.socket()
  found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
  try:
    found.bind((host, port))
  except OSError as error:
    found.close()
    raise ValueError(f"--rest_port: expected one that is free on {host}, received {port} ({error.strerror})") from None
  return found
