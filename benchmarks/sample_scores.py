"""Time and memory of FID, precision and recall at the size that the field reports.

    python -m benchmarks.sample_scores [--samples=50000] [--size=2048]

Features are made up, of two correlated distributions, and come in batches as a network would give them.
"""

import resource
import sys
import time

from absl import flags as absl_flags
import numpy as np

from iddpm_tf.evaluation import scores
from iddpm_tf.evaluation.features import Features
from trainers.cli import flags

FLAGS = absl_flags.FlagValues()
absl_flags.DEFINE_integer("samples", 50_000, "of either kind", flag_values=FLAGS)
absl_flags.DEFINE_integer("size", 2048, "numbers a feature", flag_values=FLAGS)
absl_flags.DEFINE_integer("batch_size", 100, "features at a time", flag_values=FLAGS)


def main():
  flags.parse(FLAGS, sys.argv)
  wanted = scores.Wanted(fid=True, precision_recall=True)
  print(f"{_peak():.2f} GiB before the first feature", flush=True)
  start = time.perf_counter()
  reference, sample = (
    scores.summarise(_batches(seed, shift), wanted) for seed, shift in ((0, 0.0), (1, 0.05))
  )
  print(
    f"features of {FLAGS.samples:,} images and as many samples: {time.perf_counter() - start:.0f} s",
    flush=True,
  )
  for wanted, name in (
    (scores.Wanted(fid=True), "FID"),
    (scores.Wanted(precision_recall=True), "precision and recall"),
  ):
    start = time.perf_counter()
    found = scores.sample_scores(
      wanted, sample, pool=reference.pool.gaussian, features=reference.features
    )
    shown = ", ".join(f"{key} {value:.4f}" for key, value in found.items())
    print(f"{name}: {time.perf_counter() - start:.0f} s ({shown})", flush=True)
  print(f"at most {_peak():.2f} GiB of memory")


def _batches(seed, shift):
  """`Features` that are correlated and not negative, as those of Inception are."""
  rng = np.random.default_rng(seed)
  mixing = np.random.default_rng(2).normal(size=[64, FLAGS.size]).astype(np.float32)
  for start in range(0, FLAGS.samples, FLAGS.batch_size):
    count = min(FLAGS.batch_size, FLAGS.samples - start)
    hidden = rng.normal(shift, 1, [count, 64]).astype(np.float32)
    noise = rng.normal(size=[count, FLAGS.size]).astype(np.float32)
    yield Features(np.maximum(hidden @ mixing / 8 + 0.3 * noise, 0), None, None)


def _peak():
  """GiB that the process has had at most."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
  main()
