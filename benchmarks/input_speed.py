"""How fast prepared records feed training, beside how fast a network trains.

    python -m benchmarks.input_speed [--flagfile=configs/cifar10.flags] [--train_batch_size=8]

Pictures of random pixels, of the size of the flagfile's, are prepared by trainers.prepare_data in a temporary
folder, then read in training's order, and trained on.
"""

import pathlib
import subprocess
import sys
import tempfile
import time

from absl import flags as absl_flags
import numpy as np

from iddpm_tf import config as config_lib
from trainers.cli import flags

FLAGS = absl_flags.FlagValues()
absl_flags.DEFINE_integer("images", 50_000, "to prepare", flag_values=FLAGS)
absl_flags.DEFINE_integer("train_batch_size", 8, "of the training that is timed", flag_values=FLAGS)
absl_flags.DEFINE_integer("train_batches", 3, "to time, after one that is not", flag_values=FLAGS)
absl_flags.DEFINE_float("seconds", 10.0, "of reading", flag_values=FLAGS)


def main():
  for section, dataclass in config_lib.parts().items():
    flags.define(FLAGS, dataclass, section)
  argv = (
    sys.argv
    if any("--flagfile" in arg for arg in sys.argv)
    else [*sys.argv, "--flagfile=configs/cifar10.flags"]
  )
  flags.parse(FLAGS, argv)
  config = flags.override(config_lib.Config(), FLAGS)
  with tempfile.TemporaryDirectory() as folder:
    source = _records(pathlib.Path(folder), config.data.image_size, FLAGS.images)
    read = _reading_speed(source, config.training.batch_size, FLAGS.seconds)
    print(
      f"records of {source.images.shape[1:]}, batches of {config.training.batch_size}: "
      f"{read:,.0f} images/s",
      flush=True,
    )
    trained = _training_speed(source, config)
    print(
      f"training, batches of {FLAGS.train_batch_size}: {trained:,.2f} images/s; reading is "
      f"{read / trained:,.0f} times as fast"
    )


def _records(folder, size, count):
  """A `Source` of prepared records, by the command that a user runs."""
  from iddpm_tf.data import sources

  raw = np.random.RandomState(0).randint(0, 256, [count, 3 * size * size], np.uint8)
  np.savez(folder / "train_data_batch_1.npz", data=raw, labels=np.arange(count) % 10 + 1)
  start = time.perf_counter()
  subprocess.run(
    [
      sys.executable,
      "-m",
      "trainers.prepare_data",
      "--dataset=imagenet_npz",
      f"--data_dir={folder}",
      f"--output_dir={folder}/records",
    ],
    check=True,
  )
  print(f"prepared {count:,} images in {time.perf_counter() - start:.1f} s")
  return sources.load(
    config_lib.DataConfig(dataset="records", data_dir=f"{folder}/records"), "train"
  )


def _reading_speed(source, batch_size, seconds):
  """Images a second."""
  from iddpm_tf.data import batches as pipeline

  batches = iter(pipeline.training_batches(source, batch_size=batch_size, seed=0, random_flip=True))
  next(batches)
  start, count = time.perf_counter(), 0
  while time.perf_counter() - start < seconds:
    next(batches)
    count += batch_size
  return count / (time.perf_counter() - start)


def _training_speed(source, config):
  """Images a second."""
  import dataclasses

  import tensorflow as tf

  from iddpm_tf.data import batches as pipeline
  from iddpm_tf.training import state as state_lib
  from iddpm_tf.training import train_step

  config = dataclasses.replace(
    config,
    data=dataclasses.replace(
      config.data, image_shape=source.images.shape[1:], num_classes=source.num_classes
    ),
  )
  state = state_lib.TrainState(config)
  step = tf.function(lambda batch: train_step.train_step(state, batch).grad_norm, autograph=False)
  batches = iter(pipeline.training_batches(source, batch_size=FLAGS.train_batch_size, seed=0))
  step(next(batches)).numpy()  # Traces.
  start = time.perf_counter()
  for _ in range(FLAGS.train_batches):
    step(next(batches)).numpy()
  return FLAGS.train_batches * FLAGS.train_batch_size / (time.perf_counter() - start)


if __name__ == "__main__":
  main()
