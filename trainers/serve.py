"""Runs a development server of exported models, with TensorFlow Serving's protocol.

  python -m trainers.serve --models_dir=saved_models

The server serves the newest version of each model in the folder, and loads new versions while it
runs. gRPC listens at --port; REST, and a page to draw images on, at --rest_port. The server has
neither encryption nor users, hence it listens on the loopback address unless --host says otherwise.
"""

import sys
from typing import Any

from iddpm_tf.serving.server import config as config_lib
from iddpm_tf.utils import progress as progress_lib
from trainers.cli import command
from trainers.cli import signals


def main(options: config_lib.ServerConfig, given: dict[str, Any]) -> int:
  """Runs the server until a signal stops it."""
  del given
  options.require_models_dir()
  command.require_packages("grpc", "starlette", "uvicorn", extra="serving")
  command.load_tensorflow()
  from iddpm_tf.serving.server import server

  try:
    with signals.raised():
      server.run(options, progress=progress_lib.Console())
  except signals.Stopped as stopped:
    print(f"stopped by {stopped.signal.name}")
  return 0


COMMAND = command.Command(main, config_lib.ServerConfig, __doc__, sections=(), needs_flags=False)

if __name__ == "__main__":
  sys.exit(COMMAND.run())
