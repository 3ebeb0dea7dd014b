"""The machine and the versions of a measurement."""

import importlib.metadata
import os
import pathlib
import platform
from typing import Any

from iddpm_tf.utils import host

_PACKAGES = ("iddpm_tf", "tensorflow", "keras", "torch", "diffusers", "numpy")
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def describe() -> dict[str, Any]:
  """Returns the machine and the versions, as the content of a JSON file."""
  info = _processor()
  flags = info.get("flags", "").split()
  return {
    "processor": info.get("model name") or platform.processor() or platform.machine(),
    "instructions": [name for name in _INSTRUCTIONS if name in flags],
    "cores": host.cores(),
    "memory": host.memory().available,
    "load": list(os.getloadavg()),  # At the start; above 0.2 the machine was not idle.
    "system": platform.platform(),
    "python": platform.python_version(),
    "versions": {name: _version(name) for name in _PACKAGES},
  }


def in_words(machine: dict[str, Any]) -> str:
  """Returns the machine in one sentence."""
  versions = ", ".join(f"{name} {value}" for name, value in machine["versions"].items() if value)
  instructions = ", ".join(machine["instructions"]) or "neither AVX2 nor AMX"
  return (
    f"{machine['processor']} ({instructions}), {machine['cores']} cores, load "
    f"{machine['load'][0]:.1f} at the start, Python {machine['python']}, {versions}."
  )


def _processor() -> dict[str, str]:
  """Returns what Linux says about the first core."""
  try:
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
  except OSError:  # The system is not Linux.
    return {}
  lines = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
  return {key.strip(): value.strip() for key, _, value in lines}


def _version(package):
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None
