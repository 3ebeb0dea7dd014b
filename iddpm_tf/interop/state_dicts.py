"""State dicts in files: PyTorch's `.pt` and `.safetensors`. Nothing in a file is ever executed."""

import collections
from collections.abc import Callable
from collections.abc import Mapping
import os
import pathlib
import pickle
import re
from typing import Any
import warnings

import ml_dtypes  # NumPy then has bfloat16, which safetensors asks it for.
import numpy as np
import safetensors
import safetensors.numpy

from iddpm_tf import settings
from iddpm_tf.utils import files

SUFFIXES = (".pt", ".safetensors")
_OPTIMIZER = {"state", "param_groups"}  # The keys of the state dict of an optimizer.

PathLike = str | os.PathLike[str]


def read_state_dict(path: PathLike) -> dict[str, np.ndarray]:
  """Reads the tensors in a file.

  Returns:
    The tensors by their names, as float32 arrays, in the file's order.

  Raises:
    InputError: there is no such file, it holds no state dict, or it is a `.pt` file and PyTorch is
      not installed.
  """
  path = require_file(path)
  with path.open("rb") as file:  # An `OSError` here says that the file may not be read.
    if not file.read(1):
      raise settings.InputError(path, "expected a state dict, received an empty file")
  return _read_pt(path) if path.suffix == ".pt" else _read_safetensors(path)


def read_optimizer(path: PathLike) -> dict[str, Any]:
  """Reads the state dict of an optimizer of PyTorch.

  Returns:
    `state`, the state of each parameter by its number, and `param_groups`, their options.

  Raises:
    InputError: there is no such file, it is another one, or PyTorch is not installed.
  """
  content = _load_pt(require_file(path))
  if not isinstance(content, dict) or not content.keys() >= _OPTIMIZER:
    raise settings.InputError(
      path, "expected the state dict of an optimizer, received another file"
    )
  return content


def write_state_dict(path: PathLike, state_dict: Mapping[str, np.ndarray]) -> None:
  """Writes a new file, which appears whole or not at all.

  The same arrays always give the same bytes.

  Args:
    path: the file.
    state_dict: float32 arrays by their names.

  Raises:
    InputError: the file exists, or it is a `.pt` file and PyTorch is not installed.
    OSError: the file cannot be written.
  """
  path = require_new_file(path)
  write = _pt_writer(path) if path.suffix == ".pt" else _write_safetensors
  try:
    with files.whole(path) as temporary:
      temporary.touch()
      mode = temporary.stat().st_mode
      write(temporary, state_dict)
      temporary.chmod(mode)  # safetensors makes a file that only its owner can read.
      require_new_file(path)  # Another process may have written it in the meantime.
  except (RuntimeError, safetensors.SafetensorError) as error:
    raise OSError(f"{path}: could not be written ({settings.first_line(error)})") from None


def require_file(path: PathLike, setting: str = "path") -> pathlib.Path:
  """Returns the path of an existing file for a state dict.

  Raises:
    InputError: there is no such file, or its suffix is wrong. `setting` is the path's name in the
      error.
  """
  path = _require_suffix(path, setting)
  if not path.is_file():
    state = "is a folder" if path.is_dir() else "does not exist"
    raise settings.InputError(setting, f"expected a file, received {path}, which {state}")
  return path


def require_new_file(path: PathLike, setting: str = "path") -> pathlib.Path:
  """Returns the path of a file for a state dict, which does not exist yet.

  Raises:
    InputError: the file exists, or its suffix is wrong. `setting` is the path's name in the error.
  """
  path = _require_suffix(path, setting)
  if os.path.lexists(path):
    raise settings.InputError(setting, f"expected a new file, received {path}, which exists")
  return path


def step_in_name(path: PathLike) -> int | None:
  """Returns the number of training steps in the name of a file, or None if there is none.

  The authors' code names its files `model500000.pt` and `ema_0.9999_500000.pt`. Their released
  files are called `cifar10_uncond_50M_500K.pt` or `lsun_uncond_100M_1200K_bs128.pt`, for example.
  """
  stem = pathlib.Path(path).stem
  if match := re.fullmatch(r"model(\d+)|ema_[\d.]+_(\d+)", stem):
    return int(match[1] or match[2])
  match = re.search(r"_(\d+)K(_bs\d+)?$", stem)
  return 1000 * int(match[1]) if match else None


def _require_suffix(path: PathLike, setting: str) -> pathlib.Path:
  settings.require_local(setting, path)
  path = pathlib.Path(path)
  if path.suffix not in SUFFIXES:
    raise settings.InputError(
      setting, f"expected a file that ends in {' or '.join(SUFFIXES)}, received {path}"
    )
  return path


def _load_pt(path: pathlib.Path) -> Any:
  """Returns what PyTorch saved to a file: tensors, and what they are made of."""
  torch = _import_torch(path)
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # PyTorch warns of a pickle's version before it refuses it.
      return torch.load(path, map_location="cpu", weights_only=True)
  except Exception as error:  # PyTorch raises a dozen kinds of errors for other files.
    raise settings.InputError(
      path, f"expected a state dict that PyTorch saved, received {_describe_refused(error)}"
    ) from None


def _read_pt(path: pathlib.Path) -> dict[str, np.ndarray]:
  content = _load_pt(path)
  if not isinstance(content, dict):
    raise settings.InputError(path, f"expected a state dict, received a {type(content).__name__}")
  if not all(isinstance(name, str) for name in content):
    raise settings.InputError(
      path, "expected a state dict, received a dictionary whose keys are not all names"
    )
  if content.keys() >= _OPTIMIZER:
    raise settings.InputError(
      path,
      "expected a network's state dict, received an optimizer's; use a file model*.pt or ema_*.pt, "
      "or the folder of all three",
    )
  return {name: _from_torch(path, name, tensor) for name, tensor in content.items()}


def _describe_refused(error: Exception) -> str:
  """Returns what PyTorch found in a file that it did not load."""
  if not isinstance(error, pickle.UnpicklingError):
    reason = settings.first_line(error)
    return "a damaged file, or another kind of file" + ("" if reason.isdigit() else f" ({reason})")
  # PyTorch accepts tensors and what they are made of, and names anything else.
  match = re.search(r"GLOBAL (\S+)", str(error))
  content = f"asks for {match[1]}" if match else "is damaged or holds other objects than tensors"
  return f"a file that {content}; nothing in it was executed"


def _from_torch(path: pathlib.Path, name: str, tensor: Any) -> np.ndarray:
  kind = getattr(tensor, "dtype", type(tensor).__name__)
  if not hasattr(tensor, "is_floating_point") or not tensor.is_floating_point():
    raise settings.InputError(
      path, f"expected tensors of floating-point numbers, received {kind} for {name!r}"
    )
  if tensor.is_sparse or tensor.device.type != "cpu":
    raise settings.InputError(
      path, f"expected dense tensors with their values, received another kind for {name!r}"
    )
  return tensor.detach().float().numpy()


def _pt_writer(path: pathlib.Path) -> Callable[[pathlib.Path, Mapping[str, np.ndarray]], None]:
  """Returns a function that writes `.pt` files. `path` is the name of the file in errors."""
  torch = _import_torch(path)

  def write(temporary, state_dict):
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # PyTorch warns of read-only arrays. They are only read here.
      tensors = collections.OrderedDict(
        (name, torch.from_numpy(array)) for name, array in state_dict.items()
      )
    # PyTorch writes the name of a file into the file, unless it gets a handle.
    with temporary.open("wb") as file:
      torch.save(tensors, file)

  return write


def _import_torch(path: pathlib.Path) -> Any:
  try:
    import torch  # An optional dependency.
  except ImportError:
    raise settings.InputError(
      path,
      "expected PyTorch to be installed, which .pt files require, received no such package; run "
      "`pip install 'iddpm_tf[torch]'`, or use a .safetensors file",
    ) from None
  return torch


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    arrays = safetensors.numpy.load_file(path)
  # The last three are raised for a tensor of an unknown type.
  except (safetensors.SafetensorError, KeyError, TypeError, AttributeError) as error:
    raise settings.InputError(
      path,
      "expected a .safetensors file, received a damaged file, or another kind of file "
      f"({settings.first_line(error)})",
    ) from None
  for name, array in arrays.items():
    if array.dtype not in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16):
      raise settings.InputError(
        path, f"expected tensors of floating-point numbers, received {array.dtype} for {name!r}"
      )
  return {name: array.astype(np.float32, copy=False) for name, array in arrays.items()}


def _write_safetensors(path: pathlib.Path, state_dict: Mapping[str, np.ndarray]) -> None:
  # Other libraries ask for the format, which stands for PyTorch's layouts.
  safetensors.numpy.save_file(dict(state_dict), path, metadata={"format": "pt"})
