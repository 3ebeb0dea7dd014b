"""The processor cores and the memory that this process may use."""

import math
import os
from typing import NamedTuple


class Memory(NamedTuple):
  """The memory of this process in bytes; zeros where the system does not tell."""

  used: int
  available: int  # What the process can still allocate.


def cores() -> int:
  """Returns the number of cores that this process may use."""
  count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
  return max(1, int(min(count, _cgroup_cores())))


def memory() -> Memory:
  """Returns the memory of this process."""
  try:
    with (
      open("/proc/self/status", encoding="utf8") as status,
      open("/proc/meminfo", encoding="utf8") as info,
    ):
      lines = dict(line.split(":", 1) for line in [*status, *info])
    used, available = (1024 * int(lines[name].split()[0]) for name in ("VmRSS", "MemAvailable"))
  except (OSError, KeyError, ValueError):  # The system is not Linux.
    return Memory(0, 0)
  return Memory(used, max(int(min(available, _cgroup_limit() - used)), 1))


def _cgroup_cores() -> float:
  """Returns the number of cores that the container may use, or infinity without a limit."""
  try:
    with open("/sys/fs/cgroup/cpu.max", encoding="utf8") as limit:
      quota, period = limit.read().split()
    return int(quota) / int(period)
  except (OSError, ValueError, ZeroDivisionError):  # No such file, or it holds "max".
    return math.inf


def _cgroup_limit() -> float:
  """Returns the bytes that the container may use, or infinity without a limit."""
  for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
    try:
      with open(path, encoding="utf8") as limit:
        return int(limit.read())
    except (OSError, ValueError):  # No such file, or it holds "max".
      pass
  return math.inf
