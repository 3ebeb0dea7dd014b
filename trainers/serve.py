"""A development server of exported samplers: python -m trainers.serve --models_dir=saved_models

For machines without TensorFlow Serving, by its protocol: gRPC at --port, REST and a page to draw on at --rest_port. It
serves the newest version of each model of the folder and looks for new ones. It has no encryption and knows no users:
it listens on the loopback address unless --host says otherwise.
"""

import dataclasses
import pathlib
import sys

from iddpm_tf import settings
from trainers.cli import command
from trainers.cli import signals

_DAY = 86_400  # Seconds.


@dataclasses.dataclass(frozen=True)
class Options:
  models_dir: str = settings.setting(
    "saved_models", "where servables are, as trainers.export writes them"
  )
  host: str = settings.setting("127.0.0.1", "address to listen on")
  port: int = settings.setting(8500, "of gRPC; 0: a free one")
  rest_port: int = settings.setting(8501, "of REST and the page; 0: a free one")
  max_batch: int = settings.setting(64, "images a request")
  max_queue: int = settings.setting(
    32, "requests that are drawn or wait; beyond, RESOURCE_EXHAUSTED and 429"
  )
  max_megabytes: int = settings.setting(16, "of a request")
  poll_seconds: float = settings.setting(2.0, "between looks for new versions")

  def __post_init__(self):
    for name in ("max_batch", "max_queue", "max_megabytes", "poll_seconds"):
      settings.require(getattr(self, name) > 0, name, "more than 0", getattr(self, name))
    settings.require(
      self.poll_seconds <= _DAY, "poll_seconds", f"at most {_DAY}", self.poll_seconds
    )
    settings.require(
      self.max_megabytes < 2**11, "max_megabytes", "less than 2048", self.max_megabytes
    )
    for name in ("port", "rest_port"):
      settings.require(0 <= getattr(self, name) < 2**16, name, "0 to 65535", getattr(self, name))


def main(options, flag_values):
  command.require_own_flags_only(
    options, flag_values, "no setting of a model, which the servable has"
  )
  settings.require(
    pathlib.Path(options.models_dir).is_dir(),
    "models_dir",
    "a folder of servables",
    options.models_dir,
  )
  command.require_packages("grpc", "starlette", "uvicorn", extra="serving")
  command.load_tensorflow()
  from iddpm_tf.serving.server import server

  try:
    with signals.raised():
      server.run(options)
  except signals.Stopped as stopped:
    print(f"stopped by {stopped.signal.name}")
  return 0


if __name__ == "__main__":
  sys.exit(command.run(main, Options, __doc__))
