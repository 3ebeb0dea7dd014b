"""Describes what is measured: networks, and the programs that run them, without a framework."""

import dataclasses
from typing import Any

HERE, PYTORCH, FLOOR = "here", "pytorch", "floor"
DIFFUSION_STEPS = 4000  # T of the configurations of CIFAR-10.
EMA = 0.9999
LEARNING_RATE = 1e-4


@dataclasses.dataclass(frozen=True)
class Network:
  """The shape of a UNet, as in `iddpm_tf.config.NetworkConfig`. Images have 3 channels."""

  name: str
  image_size: int
  base_channels: int
  channel_multipliers: tuple[int, ...]
  num_res_blocks: int
  attention_resolutions: tuple[int, ...]
  num_heads: int
  dropout: float

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Height, width and channels of an image."""
    return self.image_size, self.image_size, 3

  @property
  def heights(self) -> tuple[int, ...]:
    """The image height of each level, the highest first."""
    return tuple(self.image_size >> level for level in range(len(self.channel_multipliers)))

  def settings(self, precision: str) -> dict[str, Any]:
    """Returns the settings of this project's network.

    Args:
      precision: `float32` or `bfloat16`.
    """
    return {
      "base_channels": self.base_channels,
      "channel_multipliers": self.channel_multipliers,
      "num_res_blocks": self.num_res_blocks,
      "attention_resolutions": self.attention_resolutions,
      "num_heads": self.num_heads,
      "dropout": self.dropout,
      "precision": "mixed_bfloat16" if precision == "bfloat16" else precision,
    }

  def resized(self, image_size: int) -> "Network":
    """Returns the network for other images, with attention at the heights that it then has."""
    resized = dataclasses.replace(self, image_size=image_size)
    heights = tuple(height for height in self.attention_resolutions if height in resized.heights)
    return dataclasses.replace(resized, attention_resolutions=heights)


NETWORKS = {
  # configs/cifar10.flags.
  "cifar10": Network("cifar10", 32, 128, (1, 2, 2, 2), 3, (16, 8), 4, 0.3),
  # configs/imagenet64.flags.
  "imagenet64": Network("imagenet64", 64, 128, (1, 2, 3, 4), 3, (16, 8), 4, 0.0),
  # For a trial of the whole command.
  "tiny": Network("tiny", 8, 32, (1, 2), 1, (4,), 2, 0.3),
}


@dataclasses.dataclass(frozen=True)
class Contestant:
  """Describes one way to run a network.

  Attributes:
    framework: `here` for this project, `pytorch` for `diffusers`, or `floor` for the convolutions
      alone.
    precision: `float32` or `bfloat16`. The weights are float32 always.
    compiled: whether `torch.compile` compiles the network.
    channels_last: whether PyTorch lays images out as NHWC.
  """

  framework: str
  precision: str
  compiled: bool = False
  channels_last: bool = False

  @property
  def name(self) -> str:
    """The name, such as `pytorch_bfloat16_channels_last_compiled`."""
    parts = [self.framework, self.precision]
    parts += ["channels_last"] if self.channels_last else []
    return "_".join([*parts, "compiled"] if self.compiled else parts)

  @property
  def title(self) -> str:
    """The name in words."""
    if self.framework == HERE:
      return f"here, {'mixed_' if self.precision == 'bfloat16' else ''}{self.precision}"
    if self.framework == FLOOR:
      return f"convolutions alone, {self.precision}"
    parts = [
      "PyTorch",
      f"{self.precision}{' autocast' if self.precision == 'bfloat16' else ''}",
      "channels_last" if self.channels_last else "NCHW",
      "torch.compile" if self.compiled else "eager",
    ]
    return ", ".join(parts)


def contestants(*, compiled: bool) -> list[Contestant]:
  """Returns all contestants.

  Args:
    compiled: whether to include those that `torch.compile` compiles, which takes minutes for each.
  """
  precisions = ("float32", "bfloat16")
  return [
    *(Contestant(HERE, precision) for precision in precisions),
    *(
      Contestant(PYTORCH, precision, is_compiled, channels_last)
      for is_compiled in ((False, True) if compiled else (False,))
      for precision in precisions
      for channels_last in (False, True)
    ),
    *(Contestant(FLOOR, precision) for precision in precisions),
  ]


@dataclasses.dataclass(frozen=True)
class Work:
  """Describes what a worker process does.

  Attributes:
    contestant: how it runs the network.
    network: the network.
    batch_size: images of each pass, step and draw, summed over the replicas.
    sampling_steps: steps of a draw.
    likelihood_steps: timesteps of a likelihood, and so evaluations of the network.
    threads: the number of threads, and of cores.
    replicas: the number of logical devices among which a training step is divided.
    microbatches: the parts of a batch, one after the other, of a training step here.
    remat: whether a training step here computes a block's activations again in its backward pass.
  """

  contestant: Contestant
  network: Network
  batch_size: int
  sampling_steps: int
  likelihood_steps: int
  threads: int
  replicas: int = 1
  microbatches: int = 1
  remat: bool = False

  def to_json(self) -> dict[str, Any]:
    """Returns the content of a JSON file."""
    return dataclasses.asdict(self)

  @classmethod
  def from_json(cls, content: dict[str, Any]) -> "Work":
    """Returns what `to_json` has made."""
    values = dict(content)
    # JSON has no tuples.
    network: dict[str, Any] = {
      key: tuple(value) if isinstance(value, list) else value
      for key, value in values.pop("network").items()
    }
    contestant = Contestant(**values.pop("contestant"))
    return cls(contestant=contestant, network=Network(**network), **values)
