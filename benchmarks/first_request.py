"""The first request of a served model, with and without warm-up records, against the median of the next ten.

    python -m benchmarks.first_request VERSION_DIR [--signature=serving_default] [--images=1]

Each in a process of its own, which loads the export into a session, as TensorFlow Serving does, replays the records or not,
and draws.
"""

import json
import subprocess
import sys
import time

from absl import flags as absl_flags
import numpy as np

from trainers.cli import command

FLAGS = absl_flags.FlagValues()
absl_flags.DEFINE_string("signature", "serving_default", "what is asked for", flag_values=FLAGS)
absl_flags.DEFINE_integer("images", 1, "a request", flag_values=FLAGS)
absl_flags.DEFINE_bool(
  "warm", None, "of one process alone: whether it replays the records", flag_values=FLAGS
)
_REQUESTS = 11


def main():
  (version,) = FLAGS(sys.argv)[1:]
  if FLAGS.warm is not None:
    print(json.dumps(seconds(version, FLAGS.warm)))
    return
  for warm in (False, True):
    done = subprocess.run(
      [
        sys.executable,
        "-m",
        "benchmarks.first_request",
        version,
        f"--signature={FLAGS.signature}",
        f"--images={FLAGS.images}",
        f"--{'' if warm else 'no'}warm",
      ],
      check=True,
      stdout=subprocess.PIPE,
    )
    first, *others = json.loads(done.stdout.splitlines()[-1])
    print(
      f"{'after' if warm else 'without'} warm-up: the first request took {1000 * first:.1f} ms, the next ten "
      f"{1000 * np.median(others):.1f} ms (median): {first / np.median(others):.2f} times"
    )


def seconds(version, warm):
  """Of each request."""
  command.load_tensorflow()
  from iddpm_tf.serving import warmup
  from iddpm_tf.serving.server import servable

  loaded = servable.Servable("model", 1, version)
  if warm:
    loaded.warm_up()
  example = warmup.example(loaded.inputs(FLAGS.signature), FLAGS.images)
  found = []
  for i in range(_REQUESTS):
    start = time.perf_counter()
    loaded.run(FLAGS.signature, example | {"seed": example["seed"] + i})
    found.append(time.perf_counter() - start)
  return found


if __name__ == "__main__":
  main()
