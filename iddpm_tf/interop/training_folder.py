"""The folder of a training by the authors' code: a model, its moving averages and its optimizer."""

from collections.abc import Mapping
import math
import os
import pathlib
import re
from typing import Any
from typing import NamedTuple

import numpy as np

from iddpm_tf import settings
from iddpm_tf.interop import architecture
from iddpm_tf.interop import state_dicts

# The names that the authors' code gives to its files.
_MODEL = re.compile(r"model(\d+)\.(?:pt|safetensors)")
_AVERAGE = re.compile(r"ema_(0?\.\d+)_(\d+)\.(?:pt|safetensors)")
# AdamW of the authors' code, and of this package.
_BETAS, _EPSILON = (0.9, 0.999), 1e-8

Shapes = Mapping[str, tuple[int, ...]]


class Files(NamedTuple):
  """The files of one step.

  Attributes:
    step: the training step.
    model: the weights.
    averages: the moving averages by their rates, the largest first.
    optimizer: the state of the optimizer; None where there is none.
  """

  step: int
  model: pathlib.Path
  averages: dict[float, pathlib.Path]
  optimizer: pathlib.Path | None


class Moments(NamedTuple):
  """The state of AdamW.

  Attributes:
    steps: the number of steps that it has taken.
    first: the first moments by the names of the parameters.
    second: the second moments.
    options: its learning rate and its weight decay, `lr` and `weight_decay`.
  """

  steps: int
  first: dict[str, np.ndarray]
  second: dict[str, np.ndarray]
  options: dict[str, float]


def find(folder: str | os.PathLike[str], step: int | None = None) -> Files:
  """Returns the files of one step: `model*.pt`, `ema_*.pt` and `opt*.pt`.

  Args:
    folder: the folder (`OPENAI_LOGDIR` of the authors' code).
    step: the step; None: the newest that has weights.

  Raises:
    InputError: there are no weights, or none of this step.
  """
  names = sorted(os.listdir(folder))
  # A .pt file comes before a .safetensors file of the same step, and is not replaced by it.
  models: dict[int, str] = {}
  for name in names:
    if match := _MODEL.fullmatch(name):
      models.setdefault(int(match[1]), name)
  expected = "expected a file, or a folder of the authors' training with model*.pt"
  if not models:
    raise settings.InputError(
      "checkpoint", f"{expected}, received {folder}, which is a folder that has none"
    )
  if step is not None and step not in models:
    present = ", ".join(map(str, sorted(models)))
    message = f"expected one of the steps of {folder}: {present}, received {step}"
    raise settings.InputError("step", message)
  chosen, path = max(models) if step is None else step, pathlib.Path(folder)
  matches = [match for name in names if (match := _AVERAGE.fullmatch(name))]
  averages = {float(match[1]): path / match[0] for match in matches if int(match[2]) == chosen}
  # The number has the digits that it has in the name of the model's file.
  digits = re.sub(r"\D", "", models[chosen])
  optimizer = path / f"opt{digits}.pt"
  return Files(
    chosen,
    path / models[chosen],
    dict(sorted(averages.items(), reverse=True)),
    optimizer if optimizer.is_file() else None,
  )


def read_averages(
  averages: Mapping[float, pathlib.Path], shapes: Shapes
) -> dict[float, dict[str, np.ndarray]]:
  """Returns the moving averages by their rates.

  Args:
    averages: the files by the rates.
    shapes: the shapes of the model's parameters by name.

  Raises:
    InputError: a file cannot be read, or belongs to another network.
  """
  arrays = {}
  for rate, path in averages.items():
    arrays[rate] = state_dicts.read_state_dict(path)
    if {name: array.shape for name, array in arrays[rate].items()} != dict(shapes):
      message = "expected the parameters of the model beside it, received those of another network"
      raise settings.InputError(path, message)
  return arrays


def read_optimizer(path: pathlib.Path, shapes: Shapes) -> Moments:
  """Returns the state of the optimizer.

  PyTorch numbers the parameters in the order in which the authors' code makes them. With mixed
  precision (`use_fp16`), their code joins them into one, or two.

  Args:
    path: the file.
    shapes: the shapes of the model's parameters by name.

  Raises:
    InputError: the file cannot be read, belongs to another network, or is of another optimizer.
  """
  shapes = {name: shapes[name] for name in sorted(shapes, key=architecture.authors_order)}
  content = state_dicts.read_optimizer(path)
  group, *others = content["param_groups"]
  received = tuple(group.get("betas", ())), group.get("eps"), bool(group.get("amsgrad"))
  if others or received != (_BETAS, _EPSILON, False):
    raise settings.InputError(
      path,
      f"expected the state of AdamW with one group of parameters, betas {_BETAS} and epsilon "
      f"{_EPSILON}, received another one",
    )
  states = [content["state"].get(number, {}) for number in group["params"]]
  kinds = ("exp_avg", "exp_avg_sq")
  if not states or not all(state.keys() >= {"step", *kinds} for state in states):
    raise settings.InputError(path, "expected moments of every parameter, received none of some")
  first, second = (_by_name(path, [state[kind] for state in states], shapes) for kind in kinds)
  options = {name: float(group.get(name, 0.0)) for name in ("lr", "weight_decay")}
  return Moments(int(states[0]["step"]), first, second, options)


def _by_name(path: pathlib.Path, tensors: list[Any], shapes: Shapes) -> dict[str, np.ndarray]:
  """Returns the moments of each parameter by its name."""
  arrays = [tensor.float().numpy() for tensor in tensors]
  for groups in _joined(shapes):
    sizes = [sum(math.prod(shapes[name]) for name in group) for group in groups]
    if len(shapes) > 1 and [array.size for array in arrays] == sizes:
      named: dict[str, np.ndarray] = {}
      for array, group in zip(arrays, groups, strict=True):
        ends = np.cumsum([math.prod(shapes[name]) for name in group])
        parts = np.split(array.reshape(-1), ends[:-1])
        named |= {name: part.reshape(shapes[name]) for name, part in zip(group, parts, strict=True)}
      return named
  if [array.shape for array in arrays] != list(shapes.values()):
    raise settings.InputError(
      path,
      "expected moments of the parameters of the model beside it, received others; without this "
      "file, the optimizer begins anew",
    )
  return dict(zip(shapes, arrays, strict=True))


def _joined(shapes: Shapes) -> list[list[list[str]]]:
  """Returns the parameters that mixed precision joins into one: of either code of the authors.

  The first code joins all of them. The second one joins those of one axis, and all others.
  """
  vectors = [name for name, shape in shapes.items() if len(shape) <= 1]
  others = [name for name, shape in shapes.items() if len(shape) > 1]
  return [[list(shapes)], [vectors, others]]
