"""The work of `trainers.import_openai`: a model folder made of a state dict."""

import json
import os
import pathlib
import shutil

import numpy as np
import tensorflow as tf

from iddpm_tf import interop
from iddpm_tf import settings
from iddpm_tf.interop import diagnosis
from iddpm_tf.interop import state_dicts
from iddpm_tf.models import checkpoints
from iddpm_tf.models import model_dir
from iddpm_tf.models import seeds as samples
from iddpm_tf.training import state as state_lib


def import_checkpoint(config, path, folder, step=None):
  """Makes the model folder `folder` of the state dict in `path`; the process's exit status.

  Args:
    config: a `Config` with `data.image_size`; its recorded fields are filled in here.
    path: a `.pt` or `.safetensors` file.
    folder: to make, or empty. It appears whole or not at all.
    step: of the weights; None: as the file's name says, or 0.
  """
  path = state_dicts.require_suffix("--checkpoint", path)
  state_dict = _read(path)
  config = diagnosis.fitted_config(state_dict, config, path)
  samples.require_samplers(config)
  known = step is not None or state_dicts.step_in_name(path) is not None
  step = step if step is not None else state_dicts.step_in_name(path) or 0
  state = _state(config, state_dict, step)
  _write(state, folder, {"checkpoint": path.name, "step": step})
  parameters = sum(int(np.prod(variable.shape)) for variable in state.network.trainable_variables)
  height, width, channels = config.data.image_shape
  classes = f"{config.num_classes} classes" if config.num_classes else "no classes"
  print(
    f"imported {path}: {parameters:,} parameters, images of {height}x{width}x{channels}, {classes}, "
    f"step {step}" + ("" if known else " (the file's name tells none; --step would)")
  )
  print(f"wrote {folder}")
  return 0


def _read(path):
  try:
    return interop.read_state_dict(path)
  except ImportError as error:
    raise settings.InputError("checkpoint", f"{error}") from None


def _state(config, state_dict, step):
  """A `TrainState` of which the weights and all averages are the state dict's."""
  state = state_lib.TrainState(config)
  interop.load_state_dict(state.network, state_dict)
  for averages in state.averages.averages:
    for average, variable in zip(averages, state.network.trainable_variables, strict=True):
      average.assign(variable.value)
  state.optimizer.start_at(step)
  return state


def _write(state, folder, record):
  # Beside it: renaming is atomic within one file system only. Resolved, or an empty folder that a link leads
  # to would not be replaced.
  target = pathlib.Path(folder).resolve()
  temporary = target.with_name(f".{target.name}.{os.getpid()}")
  try:
    temporary.mkdir(parents=True)
    checkpoints.Checkpoints(state, temporary).save(record["step"])
    (temporary / model_dir.IMPORTED).write_text(json.dumps(record, indent=2) + "\n")
    model_dir.write_config(temporary, state.config)
    os.rename(temporary, target)
  except (OSError, tf.errors.OpError) as error:
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    raise settings.InputError(
      "model_dir", f"expected a folder that can be written, received {folder} ({reason})"
    ) from None
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
