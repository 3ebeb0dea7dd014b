"""Trains a diffusion model, or continues a training.

  python -m trainers.train --flagfile=configs/digits.flags

The run goes to --model_dir, or to runs/NAME for --flagfile=configs/NAME.flags. A folder that holds
a run is continued from its newest checkpoint: by the same command, or with --model_dir alone.
"""

import dataclasses
import sys
from typing import Any

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import sources
from iddpm_tf.interop import initialisation
from trainers.cli import command
from trainers.cli import training


@dataclasses.dataclass(frozen=True)
class Options(training.TrainingOptions):
  """Flags of the command."""

  init_from: str | None = settings.setting(
    None,
    "a trained model whose weights a new run begins with: a model folder, whose network and "
    "process are then the defaults, or a checkpoint of the authors' code; classes and channels may "
    "differ",
  )
  init_ema: float | None = settings.setting(
    None,
    "rate of the averaged weights to take from the model folder --init_from; 0 takes the raw "
    "weights; unset: its first rate",
  )

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    super().__post_init__()
    if self.init_ema is not None and self.init_from is None:
      raise settings.InputError("init_ema", "requires --init_from")


def main(options: Options, given: dict[str, Any]) -> int:
  """Trains."""
  folder = options.folder()
  stored = folder.read_config()
  if stored:
    folder.require_kind(stored, classifier=False)
    config = stored.changed(given, folder.path)
  else:
    if not given and not options.flagfiles and not options.init_from:
      training.require_settings(folder, "configs/digits.flags")
    pool = given.get("pool", "none")
    if pool != "none":
      message = f"expected none for a diffusion model, received {pool!r}"
      raise settings.InputError("pool", f"{message}; trainers.train_classifier trains classifiers")
    config = _initial_config(options).with_settings(**given)
  sources.require_data_dir(config.data)
  return training.run(
    config, folder, options, init_from=options.init_from, init_ema=options.init_ema
  )


def _initial_config(options: Options) -> config_lib.Config:
  """Returns the configuration of a new run where no setting is given."""
  source = None
  if options.init_from is not None:
    source = initialisation.require_source(options.init_from, options.init_ema)
  if source is None:
    return config_lib.Config()
  return config_lib.Config(
    network=source.network, diffusion=source.diffusion, sampling=source.sampling
  )


COMMAND = command.Command(main, Options, __doc__)

if __name__ == "__main__":
  sys.exit(COMMAND.run())
