"""A process that holds one contestant, and answers what it is asked, one line of JSON each.

A request is one of

- `{"do": "about"}`: the number of weights, and what else describes the contestant.
- `{"do": "first", "measure": NAME}`: the seconds from before the network is built to the end of
  the first run. It must be the first request.
- `{"do": "measure", "measure": NAME, "count": N, "warm_up": K}`: the seconds of N runs, after K
  that are not measured. The first request of a measure has one more of these.
- `{"do": "memory"}`: the largest memory of the process so far, and since the last such request.

An answer is an object. It has an entry `error` if the request has failed.
"""

from collections.abc import Callable
import contextlib
import ctypes
import gc
import json
import os
import pathlib
import resource
import sys
import time
from typing import Any
from typing import Protocol

from benchmarks.speed_comparison import contestants


class Subject(Protocol):
  """A contestant in its own process. Making one imports its framework and builds no network."""

  def about(self) -> dict[str, Any]:
    """Returns versions, and what else describes the contestant."""

  def prepare(self, measure: str) -> Callable[[], object]:
    """Returns what runs a measure once, and returns when it has finished."""


class Worker:
  """Answers requests about one subject."""

  def __init__(self, subject: Subject, import_seconds: float):
    self._subject, self._import_seconds = subject, import_seconds
    self._memory_after_imports = peak_memory()
    self._runs: dict[str, Callable[[], object]] = {}

  def answer(self, request: dict[str, Any]) -> dict[str, Any]:
    """Returns the answer to a request."""
    kind = request["do"]
    if kind == "first":
      return {"seconds": self._first(request["measure"])}
    if kind == "measure":
      return {"seconds": self._measure(**{k: v for k, v in request.items() if k != "do"})}
    if kind == "memory":
      answer = {"peak": peak_memory(), "recent_peak": recent_peak_memory()}
      forget_peak_memory()
      return answer
    assert kind == "about", kind
    return self._subject.about() | {
      "import_seconds": self._import_seconds,
      "memory_after_imports": self._memory_after_imports,
    }

  def _first(self, measure):
    assert not self._runs
    start = time.perf_counter()
    self._run_of(measure)()
    return time.perf_counter() - start

  def _measure(self, measure, count, warm_up):
    for _ in range(warm_up + (measure not in self._runs)):
      self._run_of(measure)()
    run, seconds = self._run_of(measure), []
    for _ in range(count):
      start = time.perf_counter()
      run()
      seconds.append(time.perf_counter() - start)
    give_memory_back()
    return seconds

  def _run_of(self, measure):
    if measure not in self._runs:
      self._runs[measure] = self._subject.prepare(measure)
    return self._runs[measure]


def peak_memory() -> int:
  """Returns the largest memory of this process so far, in bytes."""
  return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def recent_peak_memory() -> int | None:
  """Returns the largest memory since `forget_peak_memory`; None where the system does not tell."""
  with contextlib.suppress(OSError, StopIteration):
    lines = pathlib.Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
  return None


def forget_peak_memory() -> None:
  """Begins `recent_peak_memory` again, where the system allows it."""
  with contextlib.suppress(OSError):
    pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def give_memory_back() -> None:
  """Returns free memory to the system, so that the processes that wait do not fill it."""
  gc.collect()
  with contextlib.suppress(OSError, AttributeError):
    ctypes.CDLL("libc.so.6").malloc_trim(0)


def make_subject(work: contestants.Work) -> Subject:
  """Returns the subject of this process."""
  # Neither framework may use more cores than it was given threads.
  if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: work.threads])
  framework = work.contestant.framework
  if framework == contestants.PYTORCH:
    from benchmarks.speed_comparison import pytorch

    return pytorch.PyTorch(work)
  if framework == contestants.FLOOR:
    from benchmarks.speed_comparison import floor

    return floor.Floor(work)
  from benchmarks.speed_comparison import here

  return here.Here(work)


def main() -> None:
  """Answers requests until the input ends."""
  # Lines that the frameworks print go to the log, not among the answers.
  with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
    os.dup2(2, 1)
    start = time.perf_counter()
    worker = Worker(
      make_subject(contestants.Work.from_json(json.loads(sys.argv[1]))),
      time.perf_counter() - start,
    )
    for line in sys.stdin:
      try:
        answer = worker.answer(json.loads(line))
      except Exception as error:  # The other contestants go on.
        first_line = (str(error).splitlines() or [""])[0]
        answer = {"error": f"{type(error).__name__}: {first_line}"}
      print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
  main()
