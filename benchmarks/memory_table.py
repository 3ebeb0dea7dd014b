"""Computes the memory of a training of each of the paper's models, and what fits a GPU.

    python -m benchmarks.memory_table --gpus=8 --output=memory.md

Nothing is trained: memory is counted from the layers, as `trainers.train` estimates it. What GPUs
need beyond that in float32 was measured by `benchmarks.accelerator_memory`.
"""

import argparse
import dataclasses
import pathlib
from typing import Any

from iddpm_tf import config as config_lib
from iddpm_tf.networks import cost as cost_lib

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
FLAGFILES = (
  "cifar10",
  "imagenet64",
  "imagenet64_class_conditional_small",
  "imagenet64_class_conditional",
  "imagenet256",
  "imagenet256_upsampler",
  "lsun_bedroom",
  "adm_imagenet64",
  "adm_imagenet128",
  "adm_imagenet256",
  "adm_imagenet512",
  "adm_lsun",
)
SIZES = (24, 40, 80)  # Memory of a GPU, in GB.
_FREE = 0.1  # The part of the memory that is left for the device's libraries and for fragments.
_GIB = 2**30
# The memory that activations take on a GPU, in parts of what is counted: in float32, 1.38, 1.40 and
# 1.42 were measured for three models, and up to 2.7 where they take 3 GiB or less; in bfloat16, at
# most 0.83. With remat, nothing was measured.
_MEASURED = {"float32": 1.4}
# The network, the flat weights, Adam's two moments, the gradient, and its sum over microbatches or
# replicas; the moving averages come on top.
COPIES = 6
WAYS: dict[str, dict[str, Any]] = {
  "float32": {},
  "bfloat16": {"precision": "mixed_bfloat16"},
  "bfloat16, remat": {"precision": "mixed_bfloat16", "remat": True},
}


@dataclasses.dataclass(frozen=True)
class Memory:
  """The bytes that a training of a model takes on each GPU.

  Attributes:
    parameters: the number of weights.
    batch_size: the images of a step, over all GPUs.
    state: the bytes of the weights, their averages, the optimizer and the gradients.
    images: the bytes of the activations of one image, by the way to compute them.
  """

  parameters: int
  batch_size: int
  state: int
  images: dict[str, int]

  def counted(self, way: str, gpus: int, microbatches: int = 1) -> float:
    """Returns the bytes on each GPU as counted from the layers."""
    return self.state + self.images[way] * self.batch_size / gpus / microbatches

  def total(self, way: str, gpus: int, microbatches: int = 1) -> float:
    """Returns the bytes on each GPU, with what was measured beyond those that are counted."""
    activations = self.counted(way, gpus, microbatches) - self.state
    return self.state + _MEASURED.get(way, 1.0) * activations

  def microbatches(self, way: str, gpus: int, size: int) -> int | None:
    """Returns the fewest microbatches, a power of 2, that fit a GPU of `size` GB, or None."""
    count = 1
    while count <= self.batch_size // gpus:
      if self.total(way, gpus, count) <= (1 - _FREE) * size * 1e9:
        return count
      count *= 2
    return None


def memory_of(name: str) -> Memory:
  """Returns the memory of the model of a flagfile."""
  config = with_data(config_lib.Config.from_flagfile(CONFIGS / f"{name}.flags"))
  costs = {
    way: cost_lib.config_cost(config.with_settings(**settings)) for way, settings in WAYS.items()
  }
  parameters = costs["float32"].parameters
  return Memory(
    parameters,
    config.training.batch_size,
    4 * parameters * (COPIES + len(config.training.ema)),
    {
      way: cost.remat_bytes if "remat" in way else cost.activation_bytes
      for way, cost in costs.items()
    },
  )


def with_data(config: config_lib.Config) -> config_lib.Config:
  """Returns a configuration that knows the images of its data set, without the data set."""
  size = config.data.image_size or 32
  classes = 1000 if config.network.class_conditional else 0
  return config.with_data(image_shape=(size, size, 3), num_classes=classes)


def table(gpus: int) -> str:
  """Returns the table in Markdown."""
  columns = [
    "flagfile",
    "weights",
    "batch",
    "state, GiB",
    *(f"activations of an image, GiB: {way}" for way in WAYS),
    f"each of {gpus} GPUs, GiB: float32",
    *(f"microbatches for {' / '.join(map(str, SIZES))} GB: {way}" for way in WAYS),
  ]
  lines = [f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns))]
  return "\n".join([*lines, *(row(name, gpus=gpus) for name in FLAGFILES)]) + "\n"


def row(name: str, *, gpus: int) -> str:
  """Returns the row of a flagfile."""
  memory = memory_of(name)
  cells = [
    f"`{name}`",
    f"{memory.parameters / 1e6:.0f}M",
    str(memory.batch_size),
    f"{memory.state / _GIB:.1f}",
    *(f"{memory.images[way] / _GIB:.3f}" for way in WAYS),
    f"{memory.total('float32', gpus) / _GIB:.0f}",
    *(
      " / ".join(str(memory.microbatches(way, gpus, size) or "no") for size in SIZES)
      for way in WAYS
    ),
  ]
  return f"| {' | '.join(cells)} |"


def main() -> None:
  """Runs the command."""
  parser = argparse.ArgumentParser(prog="memory_table")
  parser.add_argument("--gpus", type=int, default=8, help="GPUs that share the batch")
  parser.add_argument("--output", type=pathlib.Path, help="file that also receives the table")
  options = parser.parse_args()
  text = table(options.gpus)
  print(text, end="")
  if options.output:
    options.output.write_text(text)


if __name__ == "__main__":
  main()
