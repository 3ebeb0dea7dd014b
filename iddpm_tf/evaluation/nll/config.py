"""Settings of an evaluation of likelihoods. This module needs no TensorFlow."""

import dataclasses
import math

from iddpm_tf import settings

SPLITS = ("test", "val", "train")
SCHEDULES = ("dense_start", "strided")
LEAST_STDERR = 1e-6  # bits/dim; a smaller error would take more evaluations than can be counted.


@dataclasses.dataclass(frozen=True)
class NllConfig:
  """How the negative log-likelihood of a data set's images is evaluated.

  Attributes:
    split: the split of the data, `test`, `val` or `train`.
    num_examples: the number of images, from the first on; 0 means all.
    nll_steps: the number of timesteps that are evaluated (Appendix E); 0 means all.
    nll_schedule: the choice of the timesteps, if there are `nll_steps`.
    nll_stderr: the standard error of an estimate of the sum over all timesteps, bits/dim. None
      computes the sum itself.
    seed: the seed of the noise.
    batch_size: images at a time.
  """

  split: str = settings.setting(
    "test", "split of the data whose likelihood is evaluated", choices=SPLITS
  )
  num_examples: int = settings.setting(0, "number of images for nll, from the first on; 0: all")
  nll_steps: int = settings.setting(
    0, "number of timesteps K at which nll is evaluated (Appendix E); 0: all"
  )
  nll_schedule: str = settings.setting(
    "dense_start",
    "choice of the nll_steps timesteps: evenly strided, or also every t up to T/K",
    choices=SCHEDULES,
  )
  nll_stderr: float | None = settings.setting(
    None,
    "estimate nll's sum over all timesteps from a part of its terms, to this standard error in "
    "bits/dim; unset: compute the sum itself",
  )
  seed: int = settings.setting(0, "seed of the noise")
  batch_size: int = settings.setting(100, "images at a time")

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    settings.convert(self)
    settings.require(self.split in SPLITS, "split", f"one of {', '.join(SPLITS)}", self.split)
    require_schedule(self.nll_schedule)
    settings.require_not_negative(self, "num_examples", "nll_steps")
    settings.require_positive(self, "batch_size")
    settings.require_seed(self.seed)
    if not self.nll_steps and self.nll_schedule != "dense_start":
      raise settings.InputError("nll_schedule", "requires nll_steps")
    if self.nll_stderr is not None:
      require_stderr(self.nll_stderr)
      if self.nll_steps:
        raise settings.InputError(
          "nll_stderr",
          "cannot be combined with nll_steps, because it estimates the sum over all timesteps",
        )


def require_stderr(stderr: float) -> None:
  """Raises an `InputError` unless an estimate can have this standard error."""
  settings.require(
    LEAST_STDERR <= stderr < math.inf, "nll_stderr", f"a number of at least {LEAST_STDERR}", stderr
  )


def require_schedule(schedule: str) -> None:
  """Raises an `InputError` unless there is such a choice of timesteps."""
  settings.require(
    schedule in SCHEDULES, "nll_schedule", f"one of {', '.join(SCHEDULES)}", schedule
  )


def require_steps(nll_steps: int, diffusion_steps: int) -> None:
  """Raises an `InputError` unless a model of `diffusion_steps` has `nll_steps` timesteps."""
  settings.require_count("nll_steps", nll_steps, least=0)
  settings.require(
    nll_steps <= diffusion_steps,
    "nll_steps",
    f"at most the model's {diffusion_steps} timesteps",
    nll_steps,
  )
