"""The text of a sampler, such as `ddim:50:0.5`."""

import re
from typing import NamedTuple

from iddpm_tf import registries
from iddpm_tf import settings


class SamplerParts(NamedTuple):
  """The parts of a sampler's text."""

  name: str
  steps: int | None  # None: all of the process.
  values: tuple[float, ...]  # Further values, such as eta of ddim.
  spacing: str  # How the timesteps are spaced; "" is the sampler's own way.
  skipped: float  # The share of skipped steps.


SPACINGS = "uniform, stride, quadratic, sectionsA-B-C, logsnr, rho or rhoNUMBER"
_SPACING = re.compile(
  r"uniform|stride|quadratic|sections[1-9]\d*(-[1-9]\d*)*|logsnr|rho([1-9]\d?(\.\d+)?)?"
)


def is_spacing(text: str) -> bool:
  """Returns whether a text is one of `SPACINGS`; see `diffusion.samplers.spacing`."""
  return _SPACING.fullmatch(text) is not None


def sampler_parts(text: str) -> SamplerParts:
  """Reads `NAME[:STEPS[:VALUE...]][:SPACING][:skipSHARE]`, such as `ddim:50:0.5`.

  STEPS may be `all`, so that values can follow: `ddim:all:0.5`.

  Raises:
    InputError: the text has another form, or there is no such sampler.
  """
  name, *rest = text.split(":")
  names = registries.SAMPLERS.names()
  last = rest.pop().removeprefix("skip") if rest and rest[-1].startswith("skip") else "0"
  spacing = rest.pop() if len(rest) > 1 and is_spacing(rest[-1]) else ""
  try:
    steps = int(rest[0]) if rest and rest[0] != "all" else None
    parts = SamplerParts(name, steps, tuple(map(float, rest[1:])), spacing, float(last))
  except ValueError:
    parts = None
  valid = parts and name in names and (parts.steps is None or parts.steps > 0)
  if not parts or not valid or not 0 <= parts.skipped < 1:
    message = (
      f"expected NAME[:STEPS[:NUMBER...]][:SPACING][:skipSHARE] with NAME one of "
      f"{', '.join(names)}, STEPS above 0 or all, SPACING {SPACINGS} and SHARE in [0, 1), received "
      f"{settings.shown(text)}"
    )
    raise settings.InputError("samplers", message)
  return parts
