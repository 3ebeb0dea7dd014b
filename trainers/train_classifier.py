"""Trains a classifier of noisy images for guidance, or continues a training.

  python -m trainers.train_classifier --flagfile=configs/digits_classifier_noisy.flags

The classifier sees images of the data with the noise of a process (--noise_schedule,
--diffusion_steps), and learns their labels (Dhariwal & Nichol, 2021). Its gradients guide a
diffusion model, whose process should be the same. The run goes to --model_dir, or to runs/NAME for
--flagfile=configs/NAME.flags. A folder that holds a run is continued from its newest checkpoint: by
the same command, or with --model_dir alone.

TensorBoard shows the loss and the accuracy, also by quarters of the process. Every --eval_every
steps, they are measured on the split val or test of the data, if there is one. Unless they are
given, --pool is attention, --eval_every is 500, and --ema is empty, as it must be.
"""

import dataclasses
import sys
from typing import Any

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import sources
from trainers.cli import command
from trainers.cli import training

# Values of settings that differ from those of a diffusion model, unless they are given.
_DEFAULTS: dict[str, Any] = {"pool": "attention", "ema": (), "eval_every": 500}


@dataclasses.dataclass(frozen=True)
class Options(training.TrainingOptions):
  """Flags of the command."""


def main(options: Options, given: dict[str, Any]) -> int:
  """Trains."""
  folder = options.folder()
  stored = folder.read_config()
  if stored:
    folder.require_kind(stored, classifier=True)
    config = stored.changed(given, folder.path)
  else:
    if not given and not options.flagfiles:
      training.require_settings(folder, "configs/digits_classifier_noisy.flags")
    config = config_lib.Config().with_settings(**(_DEFAULTS | given))
    heads = ", ".join(config_lib.POOLS)
    settings.require(config.is_classifier, "pool", f"one of {heads}", config.network.pool)
  sources.require_data_dir(config.data)
  return training.run(config, folder, options)


COMMAND = command.Command(
  main, Options, __doc__, help_sections=("network", "diffusion", "data", "training", "evaluation")
)

if __name__ == "__main__":
  sys.exit(COMMAND.run())
