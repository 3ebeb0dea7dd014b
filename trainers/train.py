"""Trains a diffusion model, or continues a training.

  python -m trainers.train --flagfile=configs/digits.flags

The run goes to --model_dir, or to runs/NAME for --flagfile=configs/NAME.flags. A folder that holds
a run is continued from its newest checkpoint: by the same command, or with --model_dir alone.
"""

import dataclasses
import pathlib
import sys
from typing import Any

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import sources
from iddpm_tf.interop import initialisation
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.utils import cluster
from iddpm_tf.utils import progress as progress_lib
from trainers.cli import command

_RUNS = pathlib.Path("runs")


@dataclasses.dataclass(frozen=True)
class Options:
  """Flags of the command."""

  model_dir: str | None = settings.setting(
    None, "folder of the run; unset: runs/ and the name of the flagfile"
  )
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
  strict: bool = settings.setting(
    False,
    "refuse to continue on other images or labels than the run was trained on, or from an earlier "
    "checkpoint where the newest one is damaged",
  )
  strategy: str = settings.setting(
    "auto",
    "devices; auto: all workers that TF_CONFIG, SLURM or Kubernetes describe, or all GPUs of this "
    "machine, or its CPU",
    choices=cluster.STRATEGIES,
  )
  log_format: str = settings.setting(
    "text", "form of the lines and bars; json: one object per line", choices=("text", "json")
  )
  flagfiles: tuple[str, ...] = settings.recorded(())

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    settings.require_choices(self)
    cluster.for_strategy(self.strategy)
    if self.init_ema is not None and self.init_from is None:
      raise settings.InputError("init_ema", "requires --init_from")


def main(options: Options, given: dict[str, Any]) -> int:
  """Trains."""
  folder = model_dir_lib.ModelDir(_folder(options))
  stored = folder.read_config()
  if stored:
    config = stored.changed(given, folder.path)
  else:
    if not given and not options.flagfiles and not options.init_from:
      state = "is empty" if folder.path.exists() else "does not exist"
      raise settings.InputError(
        "model_dir",
        f"expected the folder of a run to continue, received {folder}, which {state}; a new run "
        "requires settings, such as --flagfile=configs/digits.flags",
      )
    config = _initial_config(options).with_settings(**given)
  sources.require_data_dir(config.data)
  command.load_tensorflow()
  from iddpm_tf import api

  try:
    api.run_training(
      config,
      model_dir=folder.path,
      init_from=options.init_from,
      init_ema=options.init_ema,
      strict=options.strict,
      strategy=options.strategy,
      progress=progress_lib.LOG_FORMATS[options.log_format](),
    )
  except api.TrainingInterrupted as interrupted:
    return 128 + interrupted.signal
  return 0


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


def _folder(options: Options) -> pathlib.Path:
  if options.model_dir:
    return pathlib.Path(options.model_dir)
  if len(options.flagfiles) != 1:
    message = (
      "expected the folder of a run, because there is not exactly one flagfile to name it after"
    )
    raise settings.InputError("model_dir", f"{message}, received nothing")
  return _RUNS / pathlib.Path(options.flagfiles[0]).stem


COMMAND = command.Command(main, Options, __doc__)

if __name__ == "__main__":
  sys.exit(COMMAND.run())
