"""Fine-tuning: a new run whose initial weights are those of a trained model.

TensorFlow is imported only once the model is known to exist.
"""

from collections.abc import Mapping
import dataclasses
import os
import pathlib
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.interop import architecture as architecture_lib
from iddpm_tf.interop import importing
from iddpm_tf.interop import state_dicts
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.utils import progress as progress_lib

if TYPE_CHECKING:
  from iddpm_tf.training import state as state_lib

PathLike = str | os.PathLike[str]

_SETTING = "init_from"
# Layers that depend on the images and the classes. They begin anew where they do not fit.
_ENDS = {
  "label_emb": "the class embedding",
  "input_blocks.0.0": "the first convolution",
  "out.2": "the last convolution",
}
# What else the shapes of the parameters show, and the setting that determines it.
_SHOWN = {
  "base_channels": "base_channels",
  "channel_multipliers": "channel_multipliers",
  "scaled_first_conv": "scaled_first_conv",
  "num_res_blocks": "num_res_blocks",
  "attention_levels": "attention_resolutions",
  "scale_shift_norm": "scale_shift_norm",
  "conv_resample": "conv_resample",
  "resblock_updown": "resblock_updown",
}
# Settings that no shape shows, but that the weights depend on.
_HEADS = ("num_heads", "num_heads_upsample", "num_head_channels", "attention_order")
_PROCESS = (
  "diffusion_steps",
  "noise_schedule",
  "mean_type",
  "variance_type",
  "rescale_timesteps",
)


class Weights(NamedTuple):
  """The weights of a trained model.

  Attributes:
    state_dict: arrays by the authors' names.
    config: the configuration of the model; None for a checkpoint of the authors' code.
    record: where they are from: `init_from`, and for a model folder `step` and `ema`.
    description: the same in words.
  """

  state_dict: Mapping[str, np.ndarray]
  config: config_lib.Config | None
  record: dict[str, Any]
  description: str


def require_source(source: PathLike, ema: float | None = None) -> config_lib.Config | None:
  """Checks that initial weights exist, without reading them.

  Args:
    source: a model folder, or a checkpoint of the authors' code.
    ema: the rate of the averages to take, for a model folder.

  Returns:
    The configuration of the model folder, or None for a checkpoint.

  Raises:
    InputError: there is no such model, or a checkpoint was given with a rate.
  """
  settings.require_local(_SETTING, source)
  path = pathlib.Path(source)
  if path.is_file():
    state_dicts.require_file(path, _SETTING)
    if ema is not None:
      message = f"expected none for a checkpoint, which holds one set of weights, received {ema}"
      raise settings.InputError("init_ema", message)
    return None
  with settings.renamed({"model_dir": _SETTING}):
    return model_dir_lib.ModelDir(path).require_config()


def require_same_source(folder: model_dir_lib.ModelDir, source: PathLike) -> None:
  """Checks that a run which is continued had its initial weights from a source.

  Raises:
    InputError: it began from others.
  """
  record = folder.read_initialised()
  if record and record.get(_SETTING) == os.path.abspath(source):
    return
  start = record[_SETTING] if record else "random weights"
  message = f"expected none, because {folder} holds a run that began from {start}"
  raise settings.InputError(_SETTING, f"{message}, received {os.fspath(source)}")


def initialise(
  state: "state_lib.TrainState",
  folder: model_dir_lib.ModelDir,
  source: PathLike,
  *,
  ema: float | None = None,
  progress: progress_lib.Progress | None = None,
) -> None:
  """Gives a new run the weights of a model, and writes its folder with a checkpoint of step 0.

  The weights of the class embedding, the first and the last convolution are new where the model has
  other classes or channels. If the model has no classes, the class embedding begins at zero, so
  that the network begins as the model. All moving averages begin at the weights. The optimizer
  begins anew.

  Args:
    state: the state of the run, before its first step.
    folder: the new or empty folder. It appears whole or not at all.
    source: a model folder, or a checkpoint of the authors' code (`.pt` or `.safetensors`).
    ema: the rate of the model folder's averages to take; 0 for the raw weights, None for its first
      rate.
    progress: where a line goes about what was taken.

  Raises:
    InputError: there is no such model, or its network differs in more than classes and channels.
  """
  progress = progress or progress_lib.Silent()
  weights = _read(source, ema)
  from iddpm_tf.interop import openai

  config = state.config
  entries = openai.state_dict_entries(state.network)
  expected = {name: entry.torch_shape for name, entry in entries.items()}
  received = {name: np.shape(array) for name, array in weights.state_dict.items()}
  _require_same_trunk(expected, received, weights, config)
  differing = _differing_ends(expected, received)
  for name, entry in entries.items():
    if _layer(name) not in differing:
      entry.variable.assign(entry.from_torch(np.asarray(weights.state_dict[name])))
    elif name == "label_emb.weight" and name not in received:
      entry.variable.assign(np.zeros(entry.variable.shape))
  state.begin_at_network()
  progress.say(
    f"initial weights: {weights.description}"
    + (f"; not taken: {', '.join(differing.values())}" if differing else "")
  )
  if weights.config:
    other = _different(weights.config.diffusion, config.diffusion, _PROCESS)
    if other:
      progress.say(f"note: {', '.join(other)}; the training adapts the weights to this")
  record = {**weights.record, "not_taken": list(differing)}
  importing.write_folder(state, config, folder.path, lambda new: new.write_initialised(record))


def _read(source: PathLike, ema: float | None) -> Weights:
  config, path = require_source(source, ema), os.path.abspath(source)
  if config is None:
    state_dict = state_dicts.read_state_dict(source)
    for name, array in state_dict.items():
      if not np.isfinite(array).all():
        message = f"expected finite weights, received infinities or NaN in {name}"
        raise settings.InputError(source, message)
    return Weights(state_dict, None, {_SETTING: path}, os.fspath(source))
  from iddpm_tf.interop import openai
  from iddpm_tf.models import trained_model

  with settings.renamed({"model_dir": _SETTING, "ema": "init_ema"}):
    model = trained_model.load(model_dir_lib.ModelDir(source), config, ema=ema)
  record = {_SETTING: path, "step": model.step, "ema": model.ema}
  return Weights(openai.to_state_dict(model.network), config, record, str(model))


def _require_same_trunk(
  expected: architecture_lib.Shapes,
  received: architecture_lib.Shapes,
  weights: Weights,
  config: config_lib.Config,
) -> None:
  """Raises an `InputError` if a network differs from a run's in more than classes and channels."""
  differences = []
  trunks = [
    {name: shape for name, shape in shapes.items() if _layer(name) not in _ENDS}
    for shapes in (expected, received)
  ]
  name = architecture_lib.first_difference(*trunks)
  if name is not None:
    with settings.renamed({"state_dict": _SETTING}):
      theirs, ours = architecture_lib.infer(received), architecture_lib.infer(expected)
    height = config.image_shape[0]
    one_level = 1 in (len(theirs.channel_multipliers), len(ours.channel_multipliers))
    differences = [
      f"{setting} is {_value(theirs, field, height)} there and {_value(ours, field, height)} here"
      for field, setting in _SHOWN.items()
      if getattr(theirs, field) != getattr(ours, field)
      and not (field == "conv_resample" and one_level)  # Where there is none, no shape shows it.
    ] or [architecture_lib.describe_difference(name, *trunks)]
  elif weights.config:
    differences = _different(weights.config.network, config.network, _HEADS)
  if differences:
    message = "expected a model whose network differs in its classes and channels at most"
    message = f"{message}, received {weights.description}: {', '.join(differences)}"
    raise settings.InputError(_SETTING, message)


def _value(architecture: architecture_lib.Architecture, field: str, height: int) -> str:
  value = getattr(architecture, field)
  if field == "attention_levels":
    value = tuple(height // 2**level for level in sorted(value))
  return "none" if value == () else settings.shown(value)


def _differing_ends(
  expected: architecture_lib.Shapes, received: architecture_lib.Shapes
) -> dict[str, str]:
  """Returns the layers of `_ENDS` that differ, each with a few words about how."""
  differing = {}
  for layer, words in _ENDS.items():
    name = f"{layer}.weight"
    theirs, ours = received.get(name), expected.get(name)
    if theirs == ours and received.get(f"{layer}.bias") == expected.get(f"{layer}.bias"):
      continue
    # Rows are classes and output channels; columns are input channels.
    column = 1 if layer == "input_blocks.0.0" else 0
    unit = "classes" if layer == "label_emb" else "channels"
    there, here = ("none" if shape is None else shape[column] for shape in (theirs, ours))
    differing[layer] = f"{words} ({unit}: {there} there, {here} here)"
  return differing


def _different(theirs: Any, ours: Any, names: tuple[str, ...]) -> list[str]:
  values = [dataclasses.asdict(section) for section in (theirs, ours)]
  return [
    f"{name} is {values[0][name]} there and {values[1][name]} here"
    for name in names
    if values[0][name] != values[1][name]
  ]


def _layer(name: str) -> str:
  """Returns the name of the layer of a parameter."""
  return name.rpartition(".")[0]
