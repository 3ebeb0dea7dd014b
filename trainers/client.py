"""Draws images from a server: python -m trainers.client --address=HOST:8500 --model=NAME --output_dir=DIR

By gRPC (--address), or by REST (--url=http://HOST:8501). Large orders go out in batches, and a busy server is asked again.
"""

import dataclasses
import pathlib
import sys

import numpy as np

from iddpm_tf import settings
from trainers.cli import command
from trainers.cli import signals

GRID = "grid.png"
_SHOWN = 400  # Images in it.
_MOST = 10_000_000  # Of anything.


@dataclasses.dataclass(frozen=True)
class Options:
  address: str | None = settings.setting(None, "HOST:PORT of gRPC")
  url: str | None = settings.setting(None, "http://HOST:PORT of REST")
  model: str | None = settings.setting(None, "name of the servable; required")
  model_version: int | None = settings.setting(None, "of the servable; unset: the newest")
  signature: str = settings.setting("serving_default", "a sampler, such as ddim_50")
  num_samples: int = settings.setting(16, "images to draw")
  seed: int = settings.setting(0, "of the first image; image i has seed + i")
  labels: tuple[int, ...] = settings.setting((0,), "classes, in turn; of a model with classes")
  batch_size: int = settings.setting(8, "images a request")
  timeout: float = settings.setting(600.0, "seconds to wait for an answer")
  attempts: int = settings.setting(6, "how often to ask a server that is busy, with growing pauses")
  output_dir: str | None = settings.setting(None, f"folder for SEED.png and {GRID}; required")

  def __post_init__(self):
    for name in ("num_samples", "batch_size", "timeout", "attempts"):
      settings.require(
        0 < getattr(self, name) <= _MOST,
        name,
        f"more than 0, and at most {_MOST:,}",
        getattr(self, name),
      )
    settings.require_seed(self.seed)
    settings.require(
      self.labels and 0 <= min(self.labels) <= max(self.labels) < 2**31,
      "labels",
      "a class or more, from 0, comma-separated",
      self.labels,
    )
    settings.require(
      self.model_version is None or 0 <= self.model_version < 2**63,
      "model_version",
      "a number of at least 0",
      self.model_version,
    )


def main(options, flag_values):
  command.require_own_flags_only(
    options, flag_values, "no setting of a model, which the server has"
  )
  settings.require(
    bool(options.address) != bool(options.url),
    "address",
    "a server, as this or as --url",
    (options.address, options.url),
  )
  for name in ("model", "output_dir"):
    settings.require(getattr(options, name), name, "one", getattr(options, name))
  command.require_packages("grpc", "httpx", "tenacity", extra="serving")
  command.load_tensorflow()
  try:
    with signals.raised():
      return _draw(options)
  except signals.Stopped as stopped:
    print(f"stopped by {stopped.signal.name}; what came is kept")
    return stopped.status


def _draw(options):
  from iddpm_tf.data import pictures
  from iddpm_tf.models import seeds as samples
  from iddpm_tf.serving import client as client_lib
  from iddpm_tf.utils import progress

  patience = client_lib.Patience(options.timeout, options.attempts)
  kind, where = (
    (client_lib.GrpcClient, options.address)
    if options.address
    else (client_lib.RestClient, options.url)
  )
  seeds = options.seed + np.arange(options.num_samples, dtype=np.int64)
  output = pathlib.Path(options.output_dir)
  with kind(where, options.model, version=options.model_version, patience=patience) as client:
    inputs = _inputs(client.signatures(), options.signature)
    labels = (
      np.resize(np.array(options.labels, np.int32), len(seeds)) if "label" in inputs else None
    )
    command.make_output_dir(output)
    shown = []  # In the grid.
    with progress.bar(total=len(seeds), unit="image") as bar:
      # Each batch once it has come: a server that is gone takes none of them along.
      for part, images in client_lib.batches(
        client, options.signature, seeds, labels, batch_size=options.batch_size
      ):
        for seed, image in zip(seeds[part], images):
          pictures.write_png(output / f"{seed:06d}.png", image)
        shown += list(images[: _SHOWN - len(shown)])
        bar.update(len(images))
  pictures.write_png(
    output / GRID, samples.grid(np.stack(shown), None if labels is None else labels[: len(shown)])
  )
  print(f"wrote {len(seeds)} images and {GRID} to {output}")
  return 0


def _inputs(signatures, name):
  settings.require(name in signatures, "signature", f"one of {', '.join(sorted(signatures))}", name)
  settings.require(
    "low_res" not in signatures[name],
    "signature",
    "one that draws from noise alone",
    f"{name}, which enlarges images",
  )
  settings.require(
    not name.startswith("png_") and not name.endswith("_trajectory"),
    "signature",
    "a sampler's own, of which the output is image",
    name,
  )
  return signatures[name]


if __name__ == "__main__":
  sys.exit(command.run(main, Options, __doc__))
