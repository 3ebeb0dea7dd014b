"""The order of the measurements: contestants in turn, each in its own process."""

from collections.abc import Callable
from collections.abc import Sequence
import contextlib
import dataclasses
import pathlib
import time
from typing import Any

from benchmarks.speed_comparison import contestants
from benchmarks.speed_comparison import processes

Say = Callable[[str], None]
# Threads of the contestant before may spin for a moment.
_PAUSE = 0.3


@dataclasses.dataclass(frozen=True)
class Rounds:
  """How often a measure is taken.

  Attributes:
    rounds: in how many rounds.
    count: runs of a contestant in a round.
    warm_up: runs before these, which are not measured.
  """

  rounds: int
  count: int
  warm_up: int


def compare(
  works: Sequence[contestants.Work],
  rounds: dict[str, Rounds],
  folder: pathlib.Path,
  save: Callable[[dict[str, dict[str, Any]]], None],
  say: Say,
) -> dict[str, dict[str, Any]]:
  """Returns the results of all contestants by their names; see `report.MEASURES`.

  What draws and what trains are separate processes, so that the first of either is from a fresh
  start, and the peak memory is that of a process that only trains. The processes of one kind are
  all alive when the rounds begin.

  Args:
    works: the contestants.
    rounds: how often to take `forward`, `sampling`, `likelihood` and `training`.
    folder: a folder for the logs of the processes.
    save: called with the results so far.
    say: shows one line.
  """
  results: dict[str, dict[str, Any]] = {work.contestant.name: {} for work in works}
  for begin, measures in (
    (begin_to_draw, ("forward", "sampling", "likelihood")),
    (begin_to_train, ("training",)),
  ):
    with contextlib.ExitStack() as stack:
      alive = {}
      for work in works:
        process = stack.enter_context(processes.Process(work, folder))
        name = process.name
        with _noted(results[name], name, say):
          begin(process, work, results[name])
          alive[name] = process
          say(f"{work.contestant.title}: {_started(results[name], begin is begin_to_train)}")
      for measure in measures:
        _alternate(alive, measure, rounds[measure], results, say)
        save(results)
  for work in works:
    likelihood = results[work.contestant.name].get("likelihood")
    if likelihood:
      results[work.contestant.name]["evaluation"] = [
        [seconds / work.likelihood_steps for seconds in values] for values in likelihood
      ]
  save(results)
  return results


def begin_to_draw(
  process: processes.Process, work: contestants.Work, result: dict[str, Any]
) -> None:
  """Draws the first images in a new process, and notes their time and what the process is."""
  if work.contestant.framework != contestants.FLOOR:
    result["first_image"] = process.ask("first", measure="sampling")["seconds"]
  result["about"] = process.ask("about")


def begin_to_train(
  process: processes.Process, work: contestants.Work, result: dict[str, Any]
) -> None:
  """Takes the first steps in a new process, and notes their time and memory."""
  if work.contestant.framework == contestants.FLOOR:
    return
  result["first_step"] = process.ask("first", measure="training")["seconds"]
  process.ask("measure", measure="training", count=2, warm_up=0)
  result["peak_memory"] = process.ask("memory")["peak"]
  process.ask("measure", measure="training", count=2, warm_up=0)
  recent = process.ask("memory")["recent_peak"]
  if recent:
    result["peak_memory_of_steps"] = recent


def _alternate(alive, measure, rounds, results, say):
  """Measures all contestants in turn, and begins each round with another one."""
  start = time.monotonic()
  for number in range(rounds.rounds):
    names = list(alive)
    shift = number % max(len(names), 1)
    for name in names[shift:] + names[:shift]:
      if name.startswith(contestants.FLOOR) and measure in ("sampling", "likelihood"):
        continue
      time.sleep(_PAUSE)
      with _noted(results[name], name, say, alive):
        answer = alive[name].ask(
          "measure", measure=measure, count=rounds.count, warm_up=rounds.warm_up
        )
        results[name].setdefault(measure, []).append(answer["seconds"])
    say(f"{measure}: round {number + 1} of {rounds.rounds}, {time.monotonic() - start:.0f} s")


@contextlib.contextmanager
def _noted(result, name, say, alive=None):
  """Notes the error of a contestant, which then takes no further part."""
  try:
    yield
  except processes.WorkerError as error:
    result["error"] = str(error)
    say(f"{name}: {error}")
    if alive is not None:
      # Its measures would have fewer rounds than those of the others.
      for measure in ("forward", "sampling", "likelihood", "training"):
        result.pop(measure, None)
      alive.pop(name).close()


def _started(result, trains):
  if trains:
    return f"first step after {result['first_step']:.1f} s" if "first_step" in result else "ready"
  if "first_image" not in result:
    return "ready"
  return (
    f"{result['about']['parameters']:,} weights, first image after {result['first_image']:.1f} s"
  )
