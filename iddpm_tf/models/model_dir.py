"""The model folder: everything about a run, and all that the other commands need."""

import dataclasses
import pathlib

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.utils import files
from trainers.cli import flags

CONFIG = "config.json"
IMPORTED = (
  "imported.json"  # Of a model that trainers.import_openai made: where its weights are from.
)


@dataclasses.dataclass(frozen=True)
class ModelOptions:
  """Settings of the commands that take a trained model."""

  model_dir: str | None = settings.setting(None, "folder of the run; required")
  ema: float | None = settings.setting(
    None,
    "rate of the averaged weights to take; 0: the raw weights; unset: the run's first rate, or with "
    "--best that of the best score",
  )
  best: bool = settings.setting(
    False, "take the checkpoint of the best score (--best_score in training) rather than the newest"
  )
  fixed_variance: str | None = settings.setting(
    None,
    "of a model that learns no variance, whose weights know none: another one than it was trained with",
    choices=("fixed_small", "fixed_large"),
  )


@dataclasses.dataclass(frozen=True)
class EnsembleOptions(ModelOptions):
  """The same, of the commands that can take two models as one (Appendix D)."""

  ensemble_dir: str | None = settings.setting(
    None,
    "folder of a second model, which takes the first and the last timesteps; the paper's is of L_vlb "
    "beside one of L_hybrid",
  )
  ensemble_steps: int | None = settings.setting(
    None, "how many timesteps at either end; unset: 100"
  )
  ensemble_ema: float | None = settings.setting(
    None, "as --ema, of the second model; unset: its first rate"
  )


def require_given(path):
  """The path of `--model_dir`, which every command needs."""
  if not path:
    raise settings.InputError("model_dir", "expected the folder of a run, received nothing")
  return pathlib.Path(path)


def trained_config(options, flag_values):
  """The `Config` of a command that needs a trained model.

  Flags of the configuration that were given must agree with the folder.
  """
  folder = require_given(options.model_dir)
  stored = require_config(folder)
  return _with_variance(
    flags.override(stored, flag_values, skip=vars(options), made=folder), options.fixed_variance
  )


def require_config(folder, flag="model_dir"):
  """The `Config` of a model folder; `ValueError`, of the flag that gave it, where there is none."""
  folder = pathlib.Path(folder)
  stored = read_config(folder)
  if stored is None:
    raise settings.InputError(
      flag,
      f"expected the folder of a run, received {folder}, "
      f"which {'is empty' if folder.exists() else 'does not exist'}",
    )
  return stored


def _with_variance(config, chosen):
  """`config` with the fixed variance that was chosen, if any."""
  if not chosen:
    return config
  settings.require(
    not config.diffusion.learns_variance,
    "fixed_variance",
    f"nothing with a model that learns its variance ({config.diffusion.variance_type})",
    chosen,
  )
  return dataclasses.replace(
    config, diffusion=dataclasses.replace(config.diffusion, variance_type=chosen)
  )


def read_config(folder):
  """The `Config` of a model folder, or None where there is none yet.

  Raises:
    ValueError: the folder is something else, or its configuration cannot be read.
  """
  path = folder / CONFIG
  if path.is_file():
    try:
      return config_lib.Config.from_json(path.read_text())
    except ValueError as error:
      raise settings.InputError(path, f"{error}") from None
  if not folder.exists():
    return None
  # A kill may have left the file that config.json was to be renamed from.
  if folder.is_dir() and all(
    path.name.startswith(".") and CONFIG in path.name for path in folder.iterdir()
  ):
    return None
  raise settings.InputError(
    "model_dir", f"expected a folder with {CONFIG}, or an empty or new one, received {folder}"
  )


def require_same_data(config, source, folder):
  """`ValueError` unless a `Source` has the images and, if the model has any, the classes of its `Config`."""

  def described(shape, classes):
    of_classes = f" in {classes} classes" if config.network.class_conditional else ""
    return "x".join(map(str, shape)) + of_classes

  expected = described(config.data.image_shape, config.data.num_classes)
  received = described(source.images.shape[1:], source.num_classes)
  if expected != received:
    raise settings.InputError(
      "dataset",
      f"expected images of {expected}, with which {folder} was made, received "
      f"{received} ({source.name})",
    )


def write_config(folder, config):
  """Writes `config.json`, whole or not at all; makes the folder."""
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with files.whole(folder / CONFIG) as temporary:
      temporary.write_text(config.to_json())
  except OSError as error:
    raise settings.InputError(
      "model_dir", f"expected a folder that can be written, received {folder} ({error.strerror})"
    ) from None
