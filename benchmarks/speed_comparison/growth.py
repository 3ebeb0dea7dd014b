"""How the cost of this project grows: each point in its own process."""

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import pathlib
from typing import Any

from benchmarks.speed_comparison import contestants
from benchmarks.speed_comparison import processes
from benchmarks.speed_comparison import running

# The values of each axis.
_VALUES = {
  "batch size": (1, 2, 4, 8, 16, 32, 64),
  "pixels": (1, 2, 3, 4),  # In units of the network's own size.
  "base channels": (32, 64, 96, 128, 160),
  "sampling steps": (10, 25, 50, 100, 250),
  "replicas": (1, 2, 4),
}


def points(work: contestants.Work) -> Iterator[tuple[str, int, contestants.Work]]:
  """Yields the name of each axis, its values, and the work at each of them.

  Args:
    work: the work from which each axis begins. An axis has two values for the tiny network.
  """
  for axis, values in _VALUES.items():
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
      else:
        yield axis, value, dataclasses.replace(work, replicas=value)


def measure(
  work: contestants.Work, folder: pathlib.Path, save: Callable[[dict], None], say: running.Say
) -> dict[str, list[dict[str, Any]]]:
  """Returns the results of all points by the axes.

  Args:
    work: the work from which each axis begins.
    folder: a folder for the logs of the processes.
    save: called with the results so far.
    say: shows one line.
  """
  axes: dict[str, list[dict[str, Any]]] = {}
  for axis, value, each in points(work):
    result: dict[str, Any] = {}
    with processes.Process(each, folder) as process:
      try:
        if axis == "sampling steps":
          _draw(process, each, result)
        else:
          _train(process, each, result)
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


def _train(process, work, result):
  running.begin_to_train(process, work, result)
  result["training"] = [process.ask("measure", measure="training", count=3, warm_up=0)["seconds"]]
  if work.replicas == 1:  # The forward pass is that of one device.
    result["forward"] = [process.ask("measure", measure="forward", count=5, warm_up=1)["seconds"]]
