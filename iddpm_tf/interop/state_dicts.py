"""State dicts in files, PyTorch's `.pt` and `.safetensors`. Nothing in a file is ever executed."""

import collections
import os
import pathlib
import pickle
import re
import warnings

import ml_dtypes  # pylint: disable=unused-import  # NumPy then knows bfloat16, which safetensors asks it for.
import numpy as np
import safetensors
import safetensors.numpy

from iddpm_tf import settings

SUFFIXES = (".pt", ".safetensors")


def require_suffix(name, path):
  """The path; `ValueError` that begins with `name` if it ends in none of `SUFFIXES`."""
  path = pathlib.Path(path)
  if path.suffix not in SUFFIXES:
    raise settings.InputError(
      name, f"expected a file that ends in {' or '.join(SUFFIXES)}, received {path}"
    )
  return path


def read_state_dict(path):
  """The tensors of a file by their names, as float32 NumPy arrays, in the file's order.

  Raises:
    ValueError: no such file, or no state dict in it.
    ImportError: a `.pt` file, and PyTorch is not installed.
  """
  path = require_suffix("state dict", path)
  if not path.is_file():
    raise settings.InputError(
      path, f"expected a file, received {'a folder' if path.is_dir() else 'no such file'}"
    )
  with path.open("rb") as file:  # What may not be read is an `OSError` here.
    if not file.read(1):
      raise settings.InputError(path, "expected a state dict, received an empty file")
  return _read_pt(path) if path.suffix == ".pt" else _read_safetensors(path)


def write_state_dict(path, state_dict):
  """Writes float32 arrays by their names; the file appears whole or not at all, the same bytes every time.

  Raises:
    ValueError: there is a file already.
    OSError: it cannot be written.
    ImportError: a `.pt` file, and PyTorch is not installed.
  """
  path = require_suffix("state dict", path)
  require_new(path)
  write = _write_pt if path.suffix == ".pt" else _write_safetensors
  temporary = path.with_name(f".{path.name}.{os.getpid()}")
  try:
    temporary.touch()
    mode = temporary.stat().st_mode
    write(temporary, state_dict)
    temporary.chmod(mode)  # safetensors leaves a file that its owner alone can read.
    require_new(path)  # The writing took a while.
    os.replace(temporary, path)
  except (RuntimeError, safetensors.SafetensorError) as error:
    raise OSError(f"{path}: could not be written ({_first_line(error)})") from None
  finally:
    temporary.unlink(missing_ok=True)


def require_new(path):
  if os.path.lexists(path):
    raise settings.InputError(path, "expected the name of a new file, received one that exists")


def step_in_name(path):
  """The training steps that the authors' names tell of, or None.

  `model500000.pt` and `ema_0.9999_500000.pt` of their training, `cifar10_uncond_50M_500K.pt` and
  `lsun_uncond_100M_1200K_bs128.pt` of their releases.
  """
  stem = pathlib.Path(path).stem
  if match := re.fullmatch(r"model(\d+)|ema_[\d.]+_(\d+)", stem):
    return int(match[1] or match[2])
  match = re.search(r"_(\d+)K(_bs\d+)?$", stem)
  return 1000 * int(match[1]) if match else None


def _read_pt(path):
  torch = _torch("read")
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # Of the pickle's version, just before it is refused.
      content = torch.load(path, map_location="cpu", weights_only=True)
  except Exception as error:  # Bytes that are no such file fail in a dozen ways.
    raise settings.InputError(
      path, f"expected a state dict as PyTorch saves it, received {_refused(error)}"
    ) from None
  if not isinstance(content, dict):
    raise settings.InputError(path, f"expected a state dict, received a {type(content).__name__}")
  if not all(isinstance(name, str) for name in content):
    raise settings.InputError(
      path, "expected a state dict, received a dictionary of other keys than names"
    )
  if content.keys() >= {"state", "param_groups"}:
    raise settings.InputError(
      path,
      "expected a network's state dict, received an optimizer's; the model*.pt or "
      "ema_*.pt beside it is meant",
    )
  return {name: _from_torch(path, name, tensor) for name, tensor in content.items()}


def _refused(error):
  if not isinstance(error, pickle.UnpicklingError):
    reason = _first_line(error)
    return "a damaged or foreign file" + ("" if reason.isdigit() else f" ({reason})")
  # All that PyTorch takes is tensors and what they are made of.
  asked = re.search(r"GLOBAL (\S+)", str(error))
  return (
    "one that "
    + (f"asks for {asked[1]}" if asked else "is damaged or holds other things than tensors")
    + "; nothing of it was run"
  )


def _from_torch(path, name, tensor):
  kind = getattr(tensor, "dtype", type(tensor).__name__)
  if not hasattr(tensor, "is_floating_point") or not tensor.is_floating_point():
    raise settings.InputError(
      path, f"expected tensors of floating-point numbers, received {kind} for {name!r}"
    )
  if tensor.is_sparse or tensor.device.type != "cpu":
    raise settings.InputError(
      path, f"expected tensors with all of their numbers, received one without for {name!r}"
    )
  return tensor.detach().float().numpy()


def _write_pt(path, state_dict):
  torch = _torch("write")
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Arrays that cannot be written to: they are only read.
    tensors = collections.OrderedDict(
      (name, torch.from_numpy(array)) for name, array in state_dict.items()
    )
  # By handle: PyTorch would write the file's name into the file.
  with path.open("wb") as file:
    torch.save(tensors, file)


def _torch(verb):
  try:
    import torch  # Only here: nothing else needs it.
  except ImportError:
    raise ImportError(
      f"to {verb} a .pt file takes PyTorch: pip install 'iddpm_tf[torch]', or "
      "pip install 'torch>=2.6,<3'; a .safetensors file takes none"
    ) from None
  return torch


def _read_safetensors(path):
  try:
    arrays = safetensors.numpy.load_file(path)
  except (
    safetensors.SafetensorError,
    KeyError,
    TypeError,
    AttributeError,
  ) as error:  # Or an unknown type.
    raise settings.InputError(
      path,
      f"expected a .safetensors file, received a damaged or foreign one ({_first_line(error)})",
    ) from None
  for name, array in arrays.items():
    if array.dtype not in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16):
      raise settings.InputError(
        path, f"expected tensors of floating-point numbers, received {array.dtype} for {name!r}"
      )
  return {name: array.astype(np.float32, copy=False) for name, array in arrays.items()}


def _write_safetensors(path, state_dict):
  # Other libraries ask for the format: the layouts are PyTorch's.
  safetensors.numpy.save_file(state_dict, path, metadata={"format": "pt"})


def _first_line(error):
  return (str(error).splitlines() or [type(error).__name__])[0][:200]
