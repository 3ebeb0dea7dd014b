"""How the cost of this project grows: each point in its own process."""

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import pathlib
from typing import Any

from benchmarks.speed_comparison import contestants
from benchmarks.speed_comparison import processes
from benchmarks.speed_comparison import running


def points(work: contestants.Work) -> Iterator[tuple[str, int, contestants.Work]]:
  """Yields the name of each axis, its values, and the work at each of them.

  Args:
    work: the work from which each axis begins.
  """
  for batch_size in (1, 2, 4, 8, 16, 32, 64):
    yield "batch size", batch_size, dataclasses.replace(work, batch_size=batch_size)
  for factor in (1, 2, 3, 4):
    # One image: a training step of 128 pixels then takes the memory of 16 images of 32 pixels.
    size = factor * work.network.image_size
    network = work.network.resized(size)
    yield "pixels", size, dataclasses.replace(work, network=network, batch_size=1)
  for channels in (32, 64, 96, 128, 160):
    network = dataclasses.replace(work.network, base_channels=channels)
    yield "base channels", channels, dataclasses.replace(work, network=network)
  for steps in (10, 25, 50, 100, 250):
    yield "sampling steps", steps, dataclasses.replace(work, sampling_steps=steps)
  for replicas in (1, 2, 4):
    yield "replicas", replicas, dataclasses.replace(work, replicas=replicas)


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
