"""Importing a checkpoint of the authors' code as a model folder.

TensorFlow is imported only once the checkpoint is known to fit.
"""

from collections.abc import Callable
from collections.abc import Mapping
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

  The weights and all moving averages of the model are the checkpoint's. The optimizer's moments
  start from zero. Nothing in the file is executed.

  A checkpoint does not show all settings. The numbers of attention heads, the order of their
  channels, the dropout rate, the size of `low_res_size`, `learned` or `learned_range`, `mean_type`
  and the noising process must be right in `config`. If they are not, only the drawn images will
  show it.

  Args:
    checkpoint: a `.pt` file, which requires PyTorch, or a `.safetensors` file.
    model_dir: the new or empty folder. It appears whole or not at all.
    config: a configuration with `data.image_size`. The channels of the images and the number of
      classes are taken from the checkpoint.
    step: the training step of the weights. None takes it from the checkpoint's name, such as
      `model500000.pt`, or 0.
    progress: where a line about the checkpoint goes.

  Raises:
    InputError: a file or a setting is wrong. If the checkpoint does not fit the configuration, the
      message names every setting that differs.
  """
  require_importable(checkpoint, model_dir, config, step=step)
  progress = progress or progress_lib.Silent()
  path = pathlib.Path(checkpoint)
  state_dict = state_dicts.read_state_dict(path)
  if config.data.data_dir:  # Training will read the data, perhaps from another working folder.
    config = config.with_settings(data_dir=os.path.abspath(config.data.data_dir))
  config = diagnosis.fitted_config(state_dict, config, str(path))
  progress.say(f"read {path}: {_describe(state_dict, config)}")
  known_step = state_dicts.step_in_name(path) if step is None else step
  _write(state_dict, config, model_dir, {"checkpoint": path.name, "step": known_step or 0})
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


def _write(
  state_dict: Mapping[str, np.ndarray],
  config: config_lib.Config,
  folder: PathLike,
  record: dict[str, Any],
) -> None:
  """Writes the model folder of weights and averages that are those of a state dict."""
  from iddpm_tf.interop import openai
  from iddpm_tf.models import batched_sampling
  from iddpm_tf.training import state as state_lib

  if not config.is_classifier:
    batched_sampling.parse_samplers(config)  # Raises an error if one does not fit the process.
  state = state_lib.TrainState(config)
  openai.load_state_dict(state.network, state_dict)
  state.begin_at_network()
  state.optimizer.start_at(record["step"])
  write_folder(state, config, folder, lambda new: new.write_imported(record))
