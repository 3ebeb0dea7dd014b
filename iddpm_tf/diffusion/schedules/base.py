"""The base class of noise schedules."""

import abc

import numpy as np

from iddpm_tf import registries
from iddpm_tf import settings


class Schedule(abc.ABC):
  """A noise schedule: the variances of the noising steps."""

  @abc.abstractmethod
  def betas(self, steps: int) -> np.ndarray:
    """Returns the betas of `steps` noising steps, float64 `[steps]`, each in (0, 1).

    Raises:
      InputError: the schedule cannot have this many steps.
    """


def make_betas(name: str, steps: int) -> np.ndarray:
  """Returns the betas of a registered schedule, float64 `[steps]`.

  Args:
    name: a name in `registries.NOISE_SCHEDULES`, such as "cosine".
    steps: T, the number of noising steps.

  Raises:
    InputError: there is no such schedule, or it cannot have this many steps.
  """
  settings.require(steps >= 1, "diffusion_steps", "a number of at least 1", steps)
  schedule: Schedule = registries.NOISE_SCHEDULES.get(name)()
  betas = np.asarray(schedule.betas(steps), np.float64)
  if betas.shape != (steps,) or not np.all((betas > 0) & (betas < 1)):
    message = f"expected {steps} betas in (0, 1) from {name}, received {list(betas.shape)} numbers"
    if betas.size:
      message += f" from {betas.min():g} to {betas.max():g}"
    raise settings.InputError("noise_schedule", message)
  return betas
