"""Measures time and memory of FID, precision and recall at the size that the field reports.

    python -m benchmarks.sample_scores [--samples=50000] [--size=2048]

The features are random, of two correlated distributions, and come in batches as from a network.
"""

import argparse
from collections.abc import Iterator
import resource
import time

import numpy as np

from iddpm_tf.evaluation import scores
from iddpm_tf.evaluation.feature_extractors import base


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(prog="sample_scores")
  parser.add_argument("--samples", type=int, default=50_000, help="images of each distribution")
  parser.add_argument("--size", type=int, default=2048, help="features per image")
  parser.add_argument("--batch_size", type=int, default=100, help="images at a time")
  options = parser.parse_args()
  both = scores.Selection(fid=True, precision_recall=True)
  print(f"{_peak():.2f} GiB before the first feature", flush=True)
  start = time.perf_counter()
  real, sample = (
    scores.summarise(_batches(options, seed, shift), both) for seed, shift in ((0, 0.0), (1, 0.05))
  )
  seconds = time.perf_counter() - start
  print(f"features of {options.samples:,} images and as many samples: {seconds:.0f} s", flush=True)
  assert real.pool is not None
  reference = scores.ReferenceSummary(pool=real.pool.gaussian, features=real.features)
  for selection, name in (
    (scores.Selection(fid=True), "FID"),
    (scores.Selection(precision_recall=True), "precision and recall"),
  ):
    start = time.perf_counter()
    results = scores.compute(selection, sample, reference)
    shown = ", ".join(f"{key} {value:.4f}" for key, value in results.items())
    print(f"{name}: {time.perf_counter() - start:.0f} s ({shown})", flush=True)
  print(f"at most {_peak():.2f} GiB of memory")


def _batches(options: argparse.Namespace, seed: int, shift: float) -> Iterator[base.Features]:
  """Yields features that are correlated and not negative, as those of Inception are."""
  rng = np.random.default_rng(seed)
  mixing = np.random.default_rng(2).normal(size=[64, options.size]).astype(np.float32)
  for start in range(0, options.samples, options.batch_size):
    count = min(options.batch_size, options.samples - start)
    hidden = rng.normal(shift, 1, [count, 64]).astype(np.float32)
    noise = rng.normal(size=[count, options.size]).astype(np.float32)
    yield base.Features(np.maximum(hidden @ mixing / 8 + 0.3 * noise, 0), None, None)


def _peak() -> float:
  """Returns the largest memory of the process so far, in GiB."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
  main()
