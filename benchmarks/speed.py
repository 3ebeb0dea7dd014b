"""Compares the speed and memory of this project with PyTorch and with the convolutions alone.

    python -m benchmarks.speed --output_dir=bench

PyTorch runs `UNet2DModel` of `diffusers`, of the same shape. All contestants are measured in one
run, in turn. With --growth, it measures how the cost of this project grows instead. The results are
a JSON file with all times, a plot, and a table in Markdown.
"""

import dataclasses
import functools
import pathlib
import sys
import time
from typing import Any

from benchmarks.speed_comparison import contestants as contestants_lib
from benchmarks.speed_comparison import growth as growth_lib
from benchmarks.speed_comparison import machine
from benchmarks.speed_comparison import report
from benchmarks.speed_comparison import running
from iddpm_tf import settings
from iddpm_tf.utils import files
from iddpm_tf.utils import host
from trainers.cli import command

_IDLE = 0.1  # The share of the cores that others use on an idle machine.
# The contestants of the tiny network: most of the time would go into starting processes.
_OF_EACH_KIND = (
  "here_float32",
  "pytorch_float32",
  "pytorch_bfloat16_channels_last_compiled",
  "floor_float32",
)


@dataclasses.dataclass(frozen=True)
class Options:
  """The settings of the benchmark."""

  network: str = settings.setting(
    "cifar10",
    "network: that of configs/cifar10.flags or configs/imagenet64.flags, or a tiny one, with few "
    "runs, to try the command",
    choices=tuple(contestants_lib.NETWORKS),
  )
  growth: bool = settings.setting(False, "measure how cost grows, and nothing else")
  axes: tuple[str, ...] = settings.setting(
    (),
    f"with --growth, what to change: names of {', '.join(growth_lib.VALUES)}; unset: all",
  )
  compile: bool = settings.setting(
    True, "also measure PyTorch with torch.compile, which takes minutes for each contestant"
  )
  contestants: tuple[str, ...] = settings.setting(
    (),
    "names of the contestants, such as here_float32,pytorch_float32; unset: all, or with the tiny "
    "network one of each kind",
  )
  batch_size: int = settings.setting(8, "images of a batch")
  sampling_steps: int = settings.setting(50, "steps of the sampling loop")
  likelihood_steps: int = settings.setting(25, "timesteps of the likelihood")
  rounds: int = settings.setting(5, "rounds, in each of which all contestants are measured")
  threads: int = settings.setting(0, "threads of each contestant; 0: one for each core")
  precision: str = settings.setting(
    "bfloat16", "precision with --growth", choices=("float32", "bfloat16")
  )
  output_dir: str = settings.setting("bench", "folder of the results")

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    settings.convert(self)
    settings.require_choices(self)
    for name in ("batch_size", "sampling_steps", "likelihood_steps", "rounds"):
      settings.require_count(name, getattr(self, name))
    for name in ("sampling_steps", "likelihood_steps"):
      steps, most = getattr(self, name), contestants_lib.DIFFUSION_STEPS
      settings.require(steps <= most, name, f"at most {most}", steps)
    settings.require(
      0 <= self.threads <= host.cores(),
      "threads",
      f"0 to {host.cores()}, the number of cores",
      self.threads,
    )
    for axis in self.axes:
      settings.require(
        axis in growth_lib.VALUES, "axes", f"one of {', '.join(growth_lib.VALUES)}", axis
      )
    settings.require(self.growth or not self.axes, "axes", "none without growth", self.axes)
    names = [each.name for each in contestants_lib.contestants(compiled=self.compile)]
    for name in self.contestants:
      settings.require(name in names, "contestants", f"one of {', '.join(names)}", name)

  @property
  def chosen(self) -> list[contestants_lib.Contestant]:
    """The contestants."""
    names = self.contestants or (_OF_EACH_KIND if self.network == "tiny" else ())
    return [
      each
      for each in contestants_lib.contestants(compiled=self.compile)
      if not names or each.name in names
    ]


def main(options: Options, given: dict[str, Any]) -> None:
  """Measures, and writes the results."""
  del given
  if options.growth:
    chosen = [contestants_lib.Contestant(contestants_lib.HERE, options.precision)]
  else:
    chosen = options.chosen
  if any(each.framework == contestants_lib.PYTORCH for each in chosen):
    command.require_packages("torch", "diffusers", extra="bench")
  folder = pathlib.Path(options.output_dir)
  (folder / "logs").mkdir(parents=True, exist_ok=True)
  start = time.monotonic()
  works = [
    contestants_lib.Work(
      each,
      contestants_lib.NETWORKS[options.network],
      options.batch_size,
      options.sampling_steps,
      options.likelihood_steps,
      options.threads or host.cores(),
    )
    for each in chosen
  ]
  content = {"machine": machine.describe(), "work": works[0].to_json()}
  load = content["machine"]["load"][0]
  if load > _IDLE * host.cores():
    # PyTorch's threads wait for each other in loops, so that other processes slow it many times.
    print(f"note: other processes use {load:.1f} cores; the ratios hold for an idle machine only")

  def say(text: str) -> None:
    print(f"[{time.monotonic() - start:5.0f} s] {text}", flush=True)

  def save(name: str, key: str, results: dict[str, Any]) -> None:
    files.write_json(folder / f"{name}.json", content | {key: results}, indent=1)

  if options.growth:
    name = "growth"
    content["axes"] = growth_lib.measure(
      works[0], options.axes, folder / "logs", functools.partial(save, name, "axes"), say
    )
    text, plot = report.growth(content), report.plot_growth
  else:
    name = "speed"
    content["results"] = running.compare(
      works, rounds(options), folder / "logs", functools.partial(save, name, "results"), say
    )
    text, plot = report.comparison(content), report.plot_comparison
  files.write_text(folder / f"{name}.md", text)
  plot(folder / f"{name}.png", content)
  print(text)
  print(f"results: {', '.join(str(folder / f'{name}.{end}') for end in ('json', 'md', 'png'))}")


def rounds(options: Options) -> dict[str, running.Rounds]:
  """Returns how often each measure is taken."""
  few = options.network == "tiny"
  number = min(options.rounds, 2) if few else options.rounds
  return {
    "forward": running.Rounds(number, 5, 1),
    "training": running.Rounds(number, 3, 1),
    # They are long, and have been run once before.
    "sampling": running.Rounds(number, 1, 0),
    "likelihood": running.Rounds(number, 1, 0),
  }


COMMAND = command.Command(main, Options, __doc__, sections=(), needs_flags=False)

if __name__ == "__main__":
  sys.exit(COMMAND.run())
