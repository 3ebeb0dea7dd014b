"""Draws images: python -m trainers.sample --model_dir=DIR

Writes a PNG grid and an .npz of `arr_0` (uint8 [N, H, W, C]) and, where the model has classes, `arr_1` (their
labels), for each of --samplers. Image i has seed --seed + i and is the same however many are drawn.
"""

import dataclasses
import sys

from iddpm_tf import config as config_lib
from trainers import command
from trainers import model_dir


@dataclasses.dataclass(frozen=True)
class Options:
  model_dir: str | None = config_lib.setting(None, "folder of the run; required")
  output_dir: str | None = config_lib.setting(None, "where images go; unset: MODEL_DIR/samples")
  seed: int = config_lib.setting(0, "of the first image")
  batch_size: int = config_lib.setting(100, "images at a time")
  labels: tuple[int, ...] = config_lib.setting((), "classes to go round; unset: all of the model's")
  ema: float | None = config_lib.setting(
      None, "rate of the averaged weights to take; 0: the raw weights; unset: the run's first rate")
  png: bool = config_lib.setting(False, "also write each image as a PNG file")

  def __post_init__(self):
    config_lib.require(self.batch_size > 0, "batch_size", "a positive number", self.batch_size)
    config_lib.require_seed(self.seed)


def main(options, flag_values):
  config = model_dir.trained_config(options, flag_values)
  _require_labels(options.labels, config)
  command.load_tensorflow()
  from trainers import sampling
  return sampling.sample(config, options)


def _require_labels(labels, config):
  if labels:
    config_lib.require(config.num_classes, "labels", "none, since the model has no classes", labels)
    config_lib.require(0 <= min(labels) and max(labels) < config.num_classes, "labels",
                       f"classes from 0 to {config.num_classes - 1}", labels)


if __name__ == "__main__":
  sys.exit(command.run(main, Options, __doc__))
