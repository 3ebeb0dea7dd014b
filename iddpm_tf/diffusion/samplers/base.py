"""The base class of samplers, and samplers by their text."""

import dataclasses
from typing import ClassVar
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import registries
from iddpm_tf import settings
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion.samplers import spacing as spacing_lib

# What a sampler keeps from one evaluation of the network to the next: tensors [B, H, W, C] or
# [B, 1, 1, 1].
Memory = tuple[tf.Tensor, ...]


class Evaluation(NamedTuple):
  """Holds one evaluation of the network in a loop."""

  diffusion: gaussian_diffusion.GaussianDiffusion  # On the sampler's timesteps.
  prediction: gaussian_diffusion.Prediction  # What the network predicts at t.
  x_t: tf.Tensor  # [B, H, W, C]
  t: tf.Tensor  # Timesteps of the respaced process, int32 [B].
  k: tf.Tensor  # The number of the evaluation, from 0 on, int32 [].
  noise: tf.Tensor  # Standard normal [B, H, W, C]; 0 at the end and where nothing is stochastic.


@dataclasses.dataclass(frozen=True)
class Sampler:
  """A rule that draws x_{t-1} from x_t.

  A subclass is a frozen dataclass with a `name`, registered in `registries.SAMPLERS` under it, and
  defines `step`. Fields of its own are numbers, which follow the number of steps in the sampler's
  text: `ddim:50:0.5` is a `ddim` sampler of 50 steps whose first own field is 0.5.

  A sampler that evaluates the network several times in a step, or that keeps something from step to
  step, defines `schedule`, `initial_memory` and `advance` in place of `step`.
  """

  name: ClassVar[str]
  own_spacing: ClassVar[str] = "uniform"  # How timesteps are spaced where nothing else is said.
  least_steps: ClassVar[int] = 1
  # Whether the gradient of a classifier shifts the mean of p(x_{t-1} | x_t), or else the score.
  guides_mean: ClassVar[bool] = False
  has_memory: ClassVar[bool] = False  # Whether `initial_memory` is not empty.

  steps: int | None = None  # Timesteps to take. None: all of the process.
  skipped: float = dataclasses.field(
    default=0.0, kw_only=True
  )  # Share of the steps left out, noisiest first.
  spacing: str = dataclasses.field(default="", kw_only=True)  # "" is `own_spacing`.

  def __post_init__(self) -> None:
    """Checks the fields.

    Raises:
      InputError: a field has an impossible value.
    """
    with settings.renamed({field.name: "samplers" for field in dataclasses.fields(self)}):
      settings.convert(self)
    least = self.least_steps
    settings.require(
      self.steps is None or self.steps >= least,
      "samplers",
      f"{least} steps or more, which {self.name} requires" if least > 1 else "a step or more",
      self.steps,
    )
    settings.require(
      0 <= self.skipped < 1, "samplers", "a share of skipped steps in [0, 1)", self.skipped
    )
    settings.require(
      not self.spacing or (config_lib.is_spacing(self.spacing) and self.steps),
      "samplers",
      f"a number of steps, and a spacing of {config_lib.SPACINGS}",
      self.spacing,
    )

  @property
  def is_stochastic(self) -> bool:
    """Whether a step uses its noise."""
    return True

  def step(
    self,
    diffusion: gaussian_diffusion.GaussianDiffusion,
    prediction: gaussian_diffusion.Prediction,
    x_t: tf.Tensor,
    t: tf.Tensor,
    noise: tf.Tensor,
  ) -> tf.Tensor:
    """Returns x_{t-1}, `[B, H, W, C]`.

    Args:
      diffusion: the diffusion, respaced to this sampler's timesteps.
      prediction: what the network predicts at t.
      x_t: `[B, H, W, C]`.
      t: timesteps of the respaced process, int32 `[B]`.
      noise: standard normal noise `[B, H, W, C]`; 0 in the last step, and wherever
        `is_stochastic` is false.

    Raises:
      NotImplementedError: the class defines `advance` in place of `step`, or neither. No method is
        abstract, because a sampler defines one of the two.
    """
    raise NotImplementedError(f"{type(self).__name__} defines neither step nor advance")

  def advance(self, evaluation: Evaluation, memory: Memory) -> tuple[tf.Tensor, Memory]:
    """Returns what the network sees next, `[B, H, W, C]`, and what to keep until then.

    Args:
      evaluation: the evaluation that was just made.
      memory: what the evaluation before returned, or `initial_memory`.
    """
    diffusion, prediction, x_t, t, _, noise = evaluation
    return self.step(diffusion, prediction, x_t, t, noise), memory

  def initial_memory(self, x: tf.Tensor) -> Memory:
    """Returns the memory before the first evaluation.

    Args:
      x: the first x_t, `[B, H, W, C]`.
    """
    del x
    return ()

  def schedule(self, diffusion: gaussian_diffusion.GaussianDiffusion) -> np.ndarray:
    """Returns the timestep of each evaluation of the network, int `[K]`.

    Args:
      diffusion: the diffusion, respaced to this sampler's timesteps.
    """
    return np.arange(diffusion.num_timesteps)[::-1]

  def starts(self, diffusion: gaussian_diffusion.GaussianDiffusion) -> np.ndarray:
    """Returns the number of the first evaluation of each step, int `[steps]`.

    Args:
      diffusion: the diffusion, respaced to this sampler's timesteps.
    """
    return np.arange(diffusion.num_timesteps)

  def timesteps(self, diffusion: gaussian_diffusion.GaussianDiffusion) -> np.ndarray:
    """Returns the timesteps of the whole process that the steps begin at, increasing, int32.

    Where steps are skipped, the last timesteps are left out.

    Raises:
      InputError: the process has no such timesteps, or too few for this sampler.
    """
    process = diffusion.process
    total = process.num_original_timesteps
    if self.steps is not None and self.steps > total:
      message = f"expected at most {total} steps, which the model has, received {self.to_text()}"
      raise settings.InputError("samplers", message)
    count = self.num_steps(total)
    if count < self.least_steps:
      message = f"expected {self.least_steps} steps or more, received {self.to_text()}"
      raise settings.InputError("samplers", message)
    with settings.renamed({"respacing": "samplers"}):
      return spacing_lib.timesteps(
        process.original_alphas_cumprod, self.steps, self.spacing or self.own_spacing
      )[:count]

  def respace(
    self, diffusion: gaussian_diffusion.GaussianDiffusion
  ) -> gaussian_diffusion.GaussianDiffusion:
    """Returns a diffusion on this sampler's timesteps.

    Where steps are skipped, the last timesteps are left out, and sampling begins with noise at the
    last one that is kept (Figure 4).

    Raises:
      InputError: the process has too few timesteps.
    """
    return diffusion.respaced(self.timesteps(diffusion))

  def num_steps(self, num_timesteps: int) -> int:
    """Returns the number of steps that it takes of a process of `num_timesteps`."""
    total = self.steps or num_timesteps
    return total - min(round(self.skipped * total), total - 1)

  def num_evaluations(self, num_timesteps: int) -> int:
    """Returns how often it evaluates the network for a process of `num_timesteps`."""
    return self.num_steps(num_timesteps)

  def to_text(self) -> str:
    """Returns the text that `parse` reads, such as `ddim:50`."""
    return ":".join(self._parts())

  def __str__(self) -> str:
    """Returns the name for files and signatures, such as `ddim_50`."""
    return "_".join(self._parts())

  def _parts(self) -> list[str]:
    """Returns the name, then the values that are not the defaults."""
    own = _own_fields(type(self))
    values = [getattr(self, field.name) for field in own]
    while own and values[len(own) - 1] == own[-1].default:
      own.pop()
    parts = [self.name]
    if self.steps is not None or own:
      parts.append(str(self.steps or "all"))
    parts += [str(value) for value in values[: len(own)]]
    parts += [self.spacing] if self.spacing else []
    return parts + ([f"skip{self.skipped}"] if self.skipped else [])


def parse(text: str) -> Sampler:
  """Returns the sampler of `NAME[:STEPS[:VALUE...]][:SPACING][:skipSHARE]`, such as `ddim:50:0.5`.

  Raises:
    InputError: there is no such sampler, or a value is not a number in its range.
  """
  parts = config_lib.sampler_parts(text)
  kind = registries.SAMPLERS.get(parts.name)
  own = _own_fields(kind)
  if len(parts.values) > len(own):
    names = "".join(f"[:{field.name.upper()}]" for field in own)
    message = f"expected {parts.name}[:STEPS]{names}[:SPACING][:skipSHARE], received {text!r}"
    raise settings.InputError("samplers", message)
  return kind(parts.steps, *parts.values, skipped=parts.skipped, spacing=parts.spacing)


def _own_fields(kind: type[Sampler]) -> list[dataclasses.Field]:
  """Returns the fields that a subclass adds, in order."""
  shared = {field.name for field in dataclasses.fields(Sampler)}
  return [field for field in dataclasses.fields(kind) if field.name not in shared]
