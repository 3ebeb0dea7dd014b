"""What this machine lets a process have."""

import math
import os


def cores():
  """How many this process may use."""
  count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
  return max(1, int(min(count, _cgroup_cores())))


def memory():
  """This process's memory, and what it could have besides (0: not known)."""
  try:
    with (
      open("/proc/self/status", encoding="utf8") as status,
      open("/proc/meminfo", encoding="utf8") as info,
    ):
      lines = dict(line.split(":", 1) for line in [*status, *info])
    used, available = (1024 * int(lines[name].split()[0]) for name in ("VmRSS", "MemAvailable"))
  except (OSError, KeyError, ValueError):  # Not Linux.
    return 0, 0
  limit = _cgroup_limit()
  return used, max(min(available, limit - used), 1)


def _cgroup_cores():
  """Cores' worth of time that a container may use."""
  try:
    with open("/sys/fs/cgroup/cpu.max", encoding="utf8") as limit:
      quota, period = limit.read().split()
    return int(quota) / int(period)
  except (OSError, ValueError, ZeroDivisionError):  # "max": there is none.
    return math.inf


def _cgroup_limit():
  """Bytes that a container may use."""
  for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
    try:
      with open(path, encoding="utf8") as limit:
        return int(limit.read())
    except (OSError, ValueError):  # "max": there is none.
      pass
  return math.inf
