"""Measures how fast records feed training, and how fast a network trains on them.

  python -m benchmarks.input_speed --flagfile=configs/cifar10.flags --train_batch_size=8

Images of random pixels, of the size of the configuration's, are prepared as records in a temporary
folder, read in the order of training, and trained on. Without a flagfile the configuration is that
of configs/cifar10.flags.
"""

import dataclasses
import pathlib
import sys
import tempfile
import time
from typing import Any

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import sources
from iddpm_tf.data.records import preparation
from iddpm_tf.utils import progress as progress_lib
from trainers.cli import command

_SIZE = 32  # Of the images, where the configuration has none.


@dataclasses.dataclass(frozen=True)
class Options:
  """The settings of the benchmark."""

  images: int = settings.setting(50_000, "number of images to prepare")
  train_batch_size: int = settings.setting(8, "images per step of the training that is measured")
  measured_steps: int = settings.setting(
    3, "training steps to measure, after one that is not measured"
  )
  seconds: float = settings.setting(10.0, "how long to read")
  flagfiles: tuple[str, ...] = settings.recorded(())


def main(options: Options, given: dict[str, Any]) -> None:
  """Prints the speeds."""
  config = config_lib.Config()
  if not options.flagfiles:
    config = config_lib.Config.from_flagfile("configs/cifar10.flags")
  config = config.with_settings(**given)
  command.load_tensorflow()
  with tempfile.TemporaryDirectory() as folder:
    source = _records(pathlib.Path(folder), config.data.image_size or _SIZE, options.images)
    read = _reading_speed(source, config.training.batch_size, options.seconds)
    print(
      f"records of {source.images.shape[1:]}, batches of {config.training.batch_size}: "
      f"{read:,.0f} images/s",
      flush=True,
    )
    trained = _training_speed(source, config, options)
    print(
      f"training, batches of {options.train_batch_size}: {trained:,.2f} images/s; reading is "
      f"{read / trained:,.0f} times as fast"
    )


def _records(folder: pathlib.Path, size: int, count: int) -> sources.Source:
  """Returns records of random pixels."""
  pixels = np.random.RandomState(0).randint(0, 256, [count, 3 * size * size], np.uint8)
  np.savez(folder / "train_data_batch_1.npz", data=pixels, labels=np.arange(count) % 10 + 1)
  start = time.perf_counter()
  preparation.prepare(
    config_lib.DataConfig(dataset="imagenet_npz", data_dir=str(folder)),
    folder / "records",
    progress=progress_lib.Console(),
  )
  print(f"prepared {count:,} images in {time.perf_counter() - start:.1f} s")
  config = config_lib.DataConfig(dataset="records", data_dir=str(folder / "records"))
  return sources.load(config, "train")


def _reading_speed(source: sources.Source, batch_size: int, seconds: float) -> float:
  """Returns images per second."""
  from iddpm_tf.data import batches as batches_lib

  batches = iter(
    batches_lib.training_batches(source, batch_size=batch_size, seed=0, random_flip=True)
  )
  next(batches)
  start, count = time.perf_counter(), 0
  while time.perf_counter() - start < seconds:
    next(batches)
    count += batch_size
  return count / (time.perf_counter() - start)


def _training_speed(source: sources.Source, config: config_lib.Config, options: Options) -> float:
  """Returns images per second."""
  import tensorflow as tf

  from iddpm_tf.data import batches as batches_lib
  from iddpm_tf.training import state as state_lib
  from iddpm_tf.training import train_step

  data = dataclasses.replace(
    config.data, image_shape=source.images.shape[1:], num_classes=source.num_classes
  )
  state = state_lib.TrainState(dataclasses.replace(config, data=data))
  step = tf.function(lambda batch: train_step.train_step(state, batch).grad_norm, autograph=False)
  batch_size = options.train_batch_size
  batches = iter(batches_lib.training_batches(source, batch_size=batch_size, seed=0))
  step(next(batches)).numpy()  # Traces the graph.
  start = time.perf_counter()
  for _ in range(options.measured_steps):
    step(next(batches)).numpy()
  return options.measured_steps * batch_size / (time.perf_counter() - start)


COMMAND = command.Command(main, Options, __doc__, needs_flags=False)

if __name__ == "__main__":
  sys.exit(COMMAND.run())
