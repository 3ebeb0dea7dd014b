"""How the cost of this project grows: each point in its own process."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import pathlib
from typing import Any

from benchmarks.speed_comparison import contestants
from benchmarks.speed_comparison import processes
from benchmarks.speed_comparison import running

# The values of each axis.
VALUES = {
  "batch size": (1, 2, 4, 8, 16, 32, 64),
  "pixels": (1, 2, 3, 4),  # In units of the network's own size.
  "base channels": (32, 64, 96, 128, 160),
  "sampling steps": (10, 25, 50, 100, 250),
  "replicas": (1, 2, 4),
  "microbatches": (1, 2, 4, 8),
  "microbatches with remat": (1, 2, 4, 8),
}


def points(
  work: contestants.Work, axes: Sequence[str] = ()
) -> Iterator[tuple[str, int, contestants.Work]]:
  """Yields the name of each axis, its values, and the work at each of them.

  Args:
    work: the work from which each axis begins. An axis has two values for the tiny network.
    axes: the names of the axes; none: all.
  """
  for axis in axes or VALUES:
    values = VALUES[axis]
    for value in values[:2] if work.network.name == "tiny" else values:
      network = work.network
      if axis == "batch size":
        yield axis, value, dataclasses.replace(work, batch_size=value)
      elif axis == "pixels":
        # One image: at 128 pixels, it takes the memory of 16 images of 32 pixels.
        network = network.resized(value * network.image_size)
        yield axis, network.image_size, dataclasses.replace(work, network=network, batch_size=1)
      elif axis == "base channels":
        network = dataclasses.replace(network, base_channels=value)
        yield axis, value, dataclasses.replace(work, network=network)
      elif axis == "sampling steps":
        yield axis, value, dataclasses.replace(work, sampling_steps=value)
      elif axis == "replicas":
        yield axis, value, dataclasses.replace(work, replicas=value)
      else:
        remat = axis.endswith("remat")
        yield axis, value, dataclasses.replace(work, microbatches=value, remat=remat)


def measure(
  work: contestants.Work,
  chosen: Sequence[str],
  folder: pathlib.Path,
  save: Callable[[dict], None],
  say: running.Say,
) -> dict[str, list[dict[str, Any]]]:
  """Returns the results of all points by the axes.

  Args:
    work: the work from which each axis begins.
    chosen: the names of the axes; none: all.
    folder: a folder for the logs of the processes.
    save: called with the results so far.
    say: shows one line.
  """
  axes: dict[str, list[dict[str, Any]]] = {}
  for axis, value, each in points(work, chosen):
    result: dict[str, Any] = {}
    with processes.Process(each, folder) as process:
      try:
        if axis == "sampling steps":
          _draw(process, each, result)
        else:
          # The forward pass is that of all images on one device.
          forward = axis != "replicas" and not axis.startswith("microbatches")
          _train(process, each, result, forward or value == 1)
      except processes.WorkerError as error:
        result["error"] = str(error)
    point = {"value": value, "batch_size": each.batch_size, "result": result}
    axes.setdefault(axis, []).append(point)
    say(f"{axis} {value}: {result.get('error', 'measured')}")
    save(axes)
  return axes


def _draw(process, work, result):
  running.begin_to_draw(process, work, result)
  process.ask("memory")
  result["sampling"] = [process.ask("measure", measure="sampling", count=3, warm_up=0)["seconds"]]
  result["peak_memory_of_steps"] = process.ask("memory")["recent_peak"]


def _train(process, work, result, forward):
  running.begin_to_train(process, work, result)
  result["training"] = [process.ask("measure", measure="training", count=3, warm_up=0)["seconds"]]
  if forward:
    result["forward"] = [process.ask("measure", measure="forward", count=5, warm_up=1)["seconds"]]
