"""Compares the first request of a served model with the next ten, with and without warm-up records.

    python -m benchmarks.first_request VERSION_DIR [--signature=serving_default] [--images=1]

Each case runs in its own process. The process loads the export into a session, as TensorFlow
Serving does, and replays the warm-up records or not. It prints the time of the first request and
the median time of the next ten.
"""

import argparse
import json
import subprocess
import sys
import time

import numpy as np

from trainers.cli import command

_REQUESTS = 11


def main() -> None:
  """Runs both cases, or with --case one of them in this process."""
  parser = argparse.ArgumentParser(prog="first_request")
  parser.add_argument("version", help="folder of an exported version")
  parser.add_argument("--signature", default="serving_default", help="signature to request")
  parser.add_argument("--images", type=int, default=1, help="number of images per request")
  parser.add_argument("--case", choices=("with", "without"), help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.case:
    seconds = time_requests(
      options.version, options.signature, options.images, warm_up=options.case == "with"
    )
    print(json.dumps(seconds))
    return
  for case in ("without", "with"):
    done = subprocess.run(
      [sys.executable, "-m", "benchmarks.first_request", *sys.argv[1:], f"--case={case}"],
      check=True,
      stdout=subprocess.PIPE,
    )
    first, *others = json.loads(done.stdout.splitlines()[-1])
    median = np.median(others)
    print(
      f"{case} warm-up: the first request took {1000 * first:.1f} ms, the median of the next ten "
      f"{1000 * median:.1f} ms: {first / median:.2f} times as long"
    )


def time_requests(version: str, signature: str, images: int, *, warm_up: bool) -> list[float]:
  """Returns the seconds of each request, in a server that has just loaded the version."""
  command.load_tensorflow()
  from iddpm_tf.serving import warmup
  from iddpm_tf.serving.server import loaded_servable

  servable = loaded_servable.LoadedServable("model", 1, version)
  if warm_up:
    servable.warm_up()
  arrays = warmup.simple_arrays(servable.inputs(signature), images)
  seconds = []
  for i in range(_REQUESTS):
    start = time.perf_counter()
    servable.run(signature, arrays | {"seed": arrays["seed"] + i})
    seconds.append(time.perf_counter() - start)
  return seconds


if __name__ == "__main__":
  main()
