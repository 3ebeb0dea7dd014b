"""The base class of samplers, and samplers by their text."""

import abc
import dataclasses
from typing import ClassVar

import numpy as np
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import registries
from iddpm_tf import settings
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion import respacing


@dataclasses.dataclass(frozen=True)
class Sampler(abc.ABC):
  """A rule that draws x_{t-1} from x_t.

  A subclass is a frozen dataclass with a `name`, registered in `registries.SAMPLERS` under it, and
  defines `step`. Fields of its own are numbers, which follow the number of steps in the sampler's
  text: `ddim:50:0.5` is a `ddim` sampler of 50 steps whose first own field is 0.5.
  """

  name: ClassVar[str]

  steps: int | None = None  # Timesteps to take. None: all of the process.
  skipped: float = dataclasses.field(
    default=0.0, kw_only=True
  )  # Share of the steps left out, noisiest first.

  def __post_init__(self) -> None:
    """Checks the fields.

    Raises:
      InputError: a field has an impossible value.
    """
    with settings.renamed({field.name: "samplers" for field in dataclasses.fields(self)}):
      settings.convert(self)
    settings.require(
      self.steps is None or self.steps > 0, "samplers", "a positive number of steps", self.steps
    )
    settings.require(
      0 <= self.skipped < 1, "samplers", "a share of skipped steps in [0, 1)", self.skipped
    )

  @property
  def is_stochastic(self) -> bool:
    """Whether `step` uses its noise."""
    return True

  @abc.abstractmethod
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
    """

  def timesteps(self, num_timesteps: int) -> np.ndarray:
    """Returns the timesteps that `steps` keeps of `num_timesteps`: increasing, evenly spaced."""
    return respacing.space_timesteps(num_timesteps, "" if self.steps is None else str(self.steps))

  def respace(
    self, diffusion: gaussian_diffusion.GaussianDiffusion
  ) -> gaussian_diffusion.GaussianDiffusion:
    """Returns a diffusion on this sampler's timesteps.

    Where steps are skipped, the last timesteps are left out, and sampling begins with noise at the
    last one that is kept (Figure 4).

    Raises:
      InputError: the process has too few timesteps.
    """
    total = diffusion.process.num_original_timesteps
    if self.steps is not None and self.steps > total:
      message = f"expected at most {total} steps, which the model has, received {self.to_text()}"
      raise settings.InputError("samplers", message)
    with settings.renamed({"respacing": "samplers"}):
      timesteps = self.timesteps(total)
    return diffusion.respaced(timesteps[: self.num_steps(total)])

  def num_steps(self, num_timesteps: int) -> int:
    """Returns the number of steps that it takes of a process of `num_timesteps`."""
    total = self.steps or num_timesteps
    return total - min(round(self.skipped * total), total - 1)

  def to_text(self) -> str:
    """Returns the text that `parse` reads, such as `ddim:50`."""
    return ":".join(self._parts())

  def __str__(self) -> str:
    """Returns the name for files and signatures, such as `ddim_50`."""
    return "_".join(self._parts())

  def _parts(self) -> list[str]:
    """Returns the name, then the values that are not the defaults."""
    parts = [self.name]
    if self.steps is not None:
      parts.append(str(self.steps))
    own = _own_fields(type(self))
    values = [getattr(self, field.name) for field in own]
    while own and values[len(own) - 1] == own[-1].default:
      own.pop()
    parts += [str(value) for value in values[: len(own)]]
    return parts + ([f"skip{self.skipped}"] if self.skipped else [])


def parse(text: str) -> Sampler:
  """Returns the sampler of `NAME[:STEPS[:VALUE...]][:skipSHARE]`, such as `ancestral:250`.

  Raises:
    InputError: there is no such sampler, or a value is not a number in its range.
  """
  parts = config_lib.sampler_parts(text)
  kind = registries.SAMPLERS.get(parts.name)
  own = _own_fields(kind)
  if len(parts.values) > len(own):
    names = "".join(f"[:{field.name.upper()}]" for field in own)
    message = f"expected {parts.name}[:STEPS]{names}[:skipSHARE], received {text!r}"
    raise settings.InputError("samplers", message)
  return kind(parts.steps, *parts.values, skipped=parts.skipped)


def _own_fields(kind: type[Sampler]) -> list[dataclasses.Field]:
  """Returns the fields that a subclass adds, in order."""
  shared = {field.name for field in dataclasses.fields(Sampler)}
  return [field for field in dataclasses.fields(kind) if field.name not in shared]
