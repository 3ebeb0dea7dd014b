"""Compares what can prepare the graph of a training step: the choices of `--graph_optimizer`.

    python -m benchmarks.graph_optimizer [--flagfile=PATH] [--choices none grappler xla]

Each choice runs in its own process, in turn. It prints the time from building the network to the
end of the first step, the median time of later steps with its quartiles, and the largest resident
memory. Images are random.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

from iddpm_tf import config as config_lib
from trainers.cli import command

_STEPS, _ROUNDS = 12, 2
_CHOICES = ("none", "grappler", "xla")


def main() -> None:
  """Runs all choices, or with --measured one of them in this process."""
  parser = argparse.ArgumentParser(prog="graph_optimizer")
  parser.add_argument("--flagfile", default="configs/cifar10.flags", help="settings of a training")
  parser.add_argument("--batch_size", type=int, default=8, help="images of a batch")
  parser.add_argument("--precision", default="mixed_bfloat16", help="precision of the network")
  parser.add_argument("--remat", action="store_true", help="compute activations again")
  parser.add_argument(
    "--choices", nargs="+", choices=_CHOICES, default=_CHOICES[:2], help="what to compare"
  )
  parser.add_argument("--measured", choices=_CHOICES, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.measured:
    config = config_lib.Config.from_flagfile(
      options.flagfile,
      batch_size=options.batch_size,
      precision=options.precision,
      remat=options.remat,
      graph_optimizer=options.measured,
    )
    size = config.data.image_size or 32
    shape = (8, 8, 1) if config.data.dataset == "digits" else (size, size, 3)
    config = config.with_data(image_shape=shape, num_classes=10)
    print(json.dumps(measure(config)))
    return
  for choice in tuple(options.choices) * _ROUNDS:
    done = subprocess.run(
      [sys.executable, "-m", "benchmarks.graph_optimizer", *sys.argv[1:], f"--measured={choice}"],
      check=True,
      stdout=subprocess.PIPE,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    low, median, high = np.percentile(result["steps"], (25, 50, 75))
    print(
      f"{choice}: first step {result['first']:.1f} s, later ones {median:.3f} s "
      f"({low:.3f} to {high:.3f}), peak memory {result['gib']:.2f} GiB"
    )


def measure(config: config_lib.Config) -> dict[str, Any]:
  """Returns the seconds of the first and of later steps, and the peak memory in GiB.

  Args:
    config: the settings of the training.
  """
  command.load_tensorflow()
  import tensorflow as tf

  from iddpm_tf.training import loop
  from iddpm_tf.training import state as state_lib
  from iddpm_tf.utils import devices

  start = time.perf_counter()
  strategy = devices.make_strategy()
  with strategy.scope():
    state = state_lib.TrainState(config)
  steps = loop.make_steps(state, strategy)
  shape = (config.training.batch_size, *config.data.image_shape)
  images = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
  batch = {"image": images, "label": np.zeros(len(images), np.int32)}
  batches = strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensors(batch).repeat())
  iterator = iter(batches)
  seconds = []
  for _ in range(_STEPS + 1):
    tf.nest.map_structure(np.asarray, steps(iterator, tf.constant(1)))
    seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
  return {"first": seconds[0], "steps": seconds[1:], "gib": peak}


if __name__ == "__main__":
  main()
