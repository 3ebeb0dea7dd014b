"""Trains a diffusion model: python -m trainers.train --flagfile=configs/digits.flags --model_dir=DIR

A folder that already holds a run is resumed from its newest checkpoint; then --model_dir is enough.
"""

import dataclasses
import os
import sys

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.models import model_dir
from trainers.cli import command
from trainers.cli import flags


@dataclasses.dataclass(frozen=True)
class Options:
  model_dir: str | None = settings.setting(None, "folder of the run; required")


def main(options, flag_values):
  folder = model_dir.require_given(options.model_dir)
  stored = model_dir.read_config(folder)
  config = flags.override(stored or config_lib.Config(), flag_values, made=stored and folder)
  if config.data.data_dir:  # The folder's other commands may run elsewhere.
    config = dataclasses.replace(
      config, data=dataclasses.replace(config.data, data_dir=os.path.abspath(config.data.data_dir))
    )
  command.load_tensorflow()
  from iddpm_tf.data import sources
  from iddpm_tf.training import loop
  from iddpm_tf.utils import devices as strategy

  source = sources.load(config.data, "train")
  if stored:
    model_dir.require_same_data(stored, source, folder)
    if config.data.dataset != stored.data.dataset:
      print(
        f"note: {folder} was made with --dataset={stored.data.dataset} and goes on with {source.name}"
      )
  else:
    config = dataclasses.replace(
      config,
      data=dataclasses.replace(
        config.data, image_shape=source.images.shape[1:], num_classes=source.num_classes
      ),
    )
  present = len(np.unique(source.labels))
  settings.require(
    present > 1 or not config.network.class_conditional,
    "class_conditional",
    f"training images of two classes or more, which {source.name} has not ({present})",
    True,
  )
  return loop.train(config, source, folder, strategy.make_strategy())


if __name__ == "__main__":
  sys.exit(command.run(main, Options, __doc__))
