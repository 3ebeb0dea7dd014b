"""Flags of the commands that train, and how they begin or continue a run."""

import dataclasses
import pathlib

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.utils import cluster
from iddpm_tf.utils import progress as progress_lib
from trainers.cli import command

_RUNS = pathlib.Path("runs")


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
  """Flags of the commands that train."""

  model_dir: str | None = settings.setting(
    None, "folder of the run; unset: runs/ and the name of the flagfile"
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

  def folder(self) -> model_dir_lib.ModelDir:
    """Returns the folder of the run, which need not exist.

    Raises:
      InputError: it is not given, and there is not exactly one flagfile.
    """
    if self.model_dir:
      return model_dir_lib.ModelDir(self.model_dir)
    if len(self.flagfiles) != 1:
      message = (
        "expected the folder of a run, because there is not exactly one flagfile to name it after"
      )
      raise settings.InputError("model_dir", f"{message}, received nothing")
    return model_dir_lib.ModelDir(_RUNS / pathlib.Path(self.flagfiles[0]).stem)


def require_settings(folder: model_dir_lib.ModelDir, example: str) -> None:
  """Raises an `InputError` that says what a new run requires.

  Args:
    folder: the folder, which holds no run.
    example: the path of a flagfile.
  """
  state = "is empty" if folder.path.exists() else "does not exist"
  raise settings.InputError(
    "model_dir",
    f"expected the folder of a run to continue, received {folder}, which {state}; a new run "
    f"requires settings, such as --flagfile={example}",
  )


def run(
  config: config_lib.Config,
  folder: model_dir_lib.ModelDir,
  options: TrainingOptions,
  *,
  init_from: str | None = None,
  init_ema: float | None = None,
) -> int:
  """Trains, and returns the exit status.

  Args:
    config: the configuration.
    folder: the folder of the run.
    options: the flags.
    init_from: a trained model whose weights a new run begins with, or None.
    init_ema: the rate of its averages to take, or None.
  """
  command.load_tensorflow()
  from iddpm_tf import api

  try:
    api.run_training(
      config,
      model_dir=folder.path,
      init_from=init_from,
      init_ema=init_ema,
      strict=options.strict,
      strategy=options.strategy,
      progress=progress_lib.LOG_FORMATS[options.log_format](),
    )
  except api.TrainingInterrupted as interrupted:
    return 128 + interrupted.signal
  return 0
