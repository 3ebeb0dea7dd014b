"""Importing a checkpoint of the authors' code as a model folder.

TensorFlow is imported only once the checkpoint is known to fit.
"""

from collections.abc import Callable
from collections.abc import Mapping
import math
import os
import pathlib
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.interop import diagnosis
from iddpm_tf.interop import state_dicts
from iddpm_tf.interop import training_folder
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.utils import files
from iddpm_tf.utils import progress as progress_lib

if TYPE_CHECKING:
  from iddpm_tf.training import state as state_lib

PathLike = str | os.PathLike[str]
_MAX_STEP = 2**31 - 1


class ImportedModel(NamedTuple):
  """What was imported.

  Attributes:
    folder: the model folder.
    config: the configuration, completed from the checkpoint.
    step: the training step of the weights.
    step_is_known: whether the step was given, or is in the checkpoint's name. Otherwise it is 0.
  """

  folder: model_dir_lib.ModelDir
  config: config_lib.Config
  step: int
  step_is_known: bool


def import_checkpoint(
  checkpoint: PathLike,
  model_dir: PathLike,
  config: config_lib.Config,
  *,
  step: int | None = None,
  progress: progress_lib.Progress | None = None,
) -> ImportedModel:
  """Makes a model folder from a checkpoint of the authors' code: a diffusion model or a classifier.

  From one file, the weights and all moving averages of the model are the file's, and the
  optimizer's moments start from zero. From the folder of a training, the weights, the moving
  averages with their rates, and the moments are those of the training. Nothing is executed.

  A checkpoint does not show all settings. The numbers of attention heads, the order of their
  channels, the dropout rate, the size of `low_res_size`, `learned` or `learned_range`, `mean_type`
  and the noising process must be right in `config`. If they are not, only the drawn images will
  show it.

  Args:
    checkpoint: a `.pt` file, which requires PyTorch, or a `.safetensors` file; or the folder of a
      training with `model*.pt`, `ema_*.pt` and `opt*.pt`.
    model_dir: the new or empty folder. It appears whole or not at all.
    config: a configuration with `data.image_size`. The channels of the images and the number of
      classes are taken from the checkpoint.
    step: the training step of the weights. None takes it from the checkpoint's name, such as
      `model500000.pt`, or 0; of a folder, the newest.
    progress: where lines about the checkpoint go.

  Raises:
    InputError: a file or a setting is wrong. If the checkpoint does not fit the configuration, the
      message names every setting that differs.
  """
  require_importable(checkpoint, model_dir, config, step=step)
  progress = progress or progress_lib.Silent()
  path, found = pathlib.Path(checkpoint), None
  if path.is_dir():
    found = training_folder.find(path, step)
    path = found.model
    if found.averages:
      config = config.with_settings(ema=tuple(found.averages))
  state_dict = state_dicts.read_state_dict(path)
  if config.data.data_dir:  # Training will read the data, perhaps from another working folder.
    config = config.with_settings(data_dir=os.path.abspath(config.data.data_dir))
  config = diagnosis.fitted_config(state_dict, config, str(path))
  progress.say(f"read {path}: {_describe(state_dict, config)}")
  known_step = state_dicts.step_in_name(path) if step is None else step
  averages, moments = _read_others(found, state_dict, config, progress)
  record = {"checkpoint": path.name, "step": known_step or 0}
  _write(state_dict, config, model_dir, record, averages=averages, moments=moments)
  return ImportedModel(
    model_dir_lib.ModelDir(model_dir), config, known_step or 0, known_step is not None
  )


def require_importable(
  checkpoint: PathLike,
  model_dir: PathLike,
  config: config_lib.Config,
  *,
  step: int | None = None,
) -> None:
  """Checks what `import_checkpoint` can check before it reads the checkpoint.

  Args:
    checkpoint: as for `import_checkpoint`.
    model_dir: as for `import_checkpoint`.
    config: as for `import_checkpoint`.
    step: as for `import_checkpoint`.

  Raises:
    InputError: a setting is wrong, there is no such file, or the folder is not new or empty.
  """
  for name, path in (("checkpoint", checkpoint), ("model_dir", model_dir)):
    settings.require_local(name, path)
  settings.require(
    step is None or 0 <= step <= _MAX_STEP, "step", f"a number from 0 to {_MAX_STEP}", step
  )
  settings.require(
    config.data.image_size,
    "image_size",
    "the height of the model's images, such as 32",
    config.data.image_size,
  )
  if os.path.isdir(checkpoint):
    training_folder.find(checkpoint, step)
  else:
    state_dicts.require_file(checkpoint, "checkpoint")
  folder = pathlib.Path(model_dir)
  if folder.is_dir():
    content = sorted(path.name for path in folder.iterdir())
    state = f"holds {content[0]}" if content else None
  else:
    state = "is a file" if os.path.lexists(folder) else None
  if state:
    raise settings.InputError(
      "model_dir", f"expected a new or empty folder, received {folder}, which {state}"
    )


def _describe(state_dict: Mapping[str, np.ndarray], config: config_lib.Config) -> str:
  parameters = sum(array.size for array in state_dict.values())
  shape = "x".join(map(str, config.data.image_shape))
  count = config.data.num_classes if config.uses_labels else 0
  classes = f"{count} classes" if count else "no classes"
  return f"{parameters:,} parameters, images of {shape}, {classes}"


def write_folder(
  state: "state_lib.TrainState",
  config: config_lib.Config,
  folder: PathLike,
  write_record: Callable[[model_dir_lib.ModelDir], object],
) -> None:
  """Writes the model folder of a state at its step. It appears whole or not at all.

  Args:
    state: the state.
    config: the configuration.
    folder: the new or empty folder.
    write_record: writes where the weights are from.

  Raises:
    InputError: the folder cannot be written.
  """
  import tensorflow as tf

  from iddpm_tf.models import checkpoints

  try:
    with files.whole_folder(folder) as temporary:
      unfinished = model_dir_lib.ModelDir(temporary)
      checkpoints.Checkpoints(state, unfinished.checkpoints).save(int(state.step.numpy()))
      write_record(unfinished)
      unfinished.write_config(config)
  except (OSError, tf.errors.OpError) as error:
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    raise settings.InputError(
      "model_dir", f"expected a folder that can be written, received {folder} ({reason})"
    ) from None


def _read_others(
  found: training_folder.Files | None,
  state_dict: Mapping[str, np.ndarray],
  config: config_lib.Config,
  progress: progress_lib.Progress,
) -> tuple[dict[float, dict[str, np.ndarray]], training_folder.Moments | None]:
  """Returns the moving averages and the moments in the folder of a training, and says so."""
  if found is None:
    return {}, None
  shapes = {name: array.shape for name, array in state_dict.items()}
  averages = training_folder.read_averages(found.averages, shapes)
  for path in found.averages.values():
    progress.say(f"read {path}")
  if not found.averages:
    progress.say(
      f"note: {found.model.parent} has no averages of step {found.step}; they begin at its weights"
    )
  if found.optimizer is None:
    progress.say(
      f"note: {found.model.parent} has no optimizer of step {found.step}; it begins anew"
    )
    return averages, None
  moments = training_folder.read_optimizer(found.optimizer, shapes)
  progress.say(f"read {found.optimizer}: {moments.steps:,} steps of AdamW")
  for name, setting in (("lr", "learning_rate"), ("weight_decay", "weight_decay")):
    value = getattr(config.training, setting)
    if not math.isclose(moments.options[name], value, rel_tol=1e-6):
      progress.say(
        f"note: the optimizer had {setting}={moments.options[name]:g}; the new run has {value:g}"
      )
  return averages, moments


def _write(
  state_dict: Mapping[str, np.ndarray],
  config: config_lib.Config,
  folder: PathLike,
  record: dict[str, Any],
  *,
  averages: Mapping[float, Mapping[str, np.ndarray]],
  moments: training_folder.Moments | None,
) -> None:
  """Writes the model folder of weights that are those of a state dict.

  Args:
    state_dict: the weights.
    config: the configuration.
    folder: the new or empty folder.
    record: what `imported.json` says.
    averages: the moving averages by their rates. Those of other rates begin at the weights.
    moments: the state of the optimizer; None begins it anew.
  """
  from iddpm_tf.interop import openai
  from iddpm_tf.models import batched_sampling
  from iddpm_tf.training import state as state_lib

  if not config.is_classifier:
    batched_sampling.parse_samplers(config)  # Raises an error if one does not fit the process.
  state = state_lib.TrainState(config)

  def assign(variable, arrays):
    openai.load_state_dict(state.network, arrays)
    variable.assign([each.value for each in state.network.trainable_variables])

  openai.load_state_dict(state.network, state_dict)
  state.begin_at_network()
  state.optimizer.start_at(record["step"])
  for rate, arrays in averages.items():
    assign(state.averages.at_rate(rate), arrays)
  if moments:
    assign(state.optimizer.momentum, moments.first)
    assign(state.optimizer.velocity, moments.second)
    # The bias of the moments is corrected by the steps that the optimizer has taken.
    state.optimizer.moments_start.assign(record["step"] - moments.steps)
  write_folder(state, config, folder, lambda new: new.write_imported(record))
