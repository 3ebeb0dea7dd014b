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
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.utils import progress as progress_lib
from trainers.cli import command

_RUNS = pathlib.Path("runs")


@dataclasses.dataclass(frozen=True)
class Options:
  """Flags of the command."""

  model_dir: str | None = settings.setting(
    None, "folder of the run; unset: runs/ and the name of the flagfile"
  )
  flagfiles: tuple[str, ...] = settings.recorded(())


def main(options: Options, given: dict[str, Any]) -> int:
  """Trains."""
  folder = model_dir_lib.ModelDir(_folder(options))
  stored = folder.read_config()
  if stored:
    config = stored.changed(given, folder.path)
  else:
    if not given and not options.flagfiles:
      state = "is empty" if folder.path.exists() else "does not exist"
      raise settings.InputError(
        "model_dir",
        f"expected the folder of a run to continue, received {folder}, which {state}; a new run "
        "requires settings, such as --flagfile=configs/digits.flags",
      )
    config = config_lib.Config().with_settings(**given)
  sources.require_data_dir(config.data)
  command.load_tensorflow()
  from iddpm_tf import api

  try:
    api.run_training(config, model_dir=folder.path, progress=progress_lib.Console())
  except api.TrainingInterrupted as interrupted:
    return 128 + interrupted.signal
  return 0


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
