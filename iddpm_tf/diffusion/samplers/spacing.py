"""The timesteps that a sampler takes: spaced evenly in t, its root or the log-SNR, or as in EDM."""

import numpy as np

from iddpm_tf import settings
from iddpm_tf.diffusion import respacing

# Images of a larger noise level are noise: the two differ by less than any sampler's error. EDM
# begins there, too (Karras et al., 2022, Table 1).
MAX_NOISE_LEVEL = 80.0
_EDM_RHO = 7.0


def timesteps(alphas_cumprod: np.ndarray, count: int | None, spacing: str) -> np.ndarray:
  """Returns increasing timesteps, int32 `[count]`.

  Args:
    alphas_cumprod: alpha bar of each timestep of the whole process, `[T]`.
    count: how many timesteps to take; None takes all.
    spacing: "uniform", evenly spaced from the first to the last; "stride", at a constant integer
      stride from the first, as the paper has it for DDIM; "sections10-15-20", 10, 15 and 20 evenly
      spaced ones in three equal sections of the process, from the least noisy on, as in the
      authors' code; "quadratic", evenly spaced in the square root of t, rounded, from the first to
      the last (after Song et al., 2020, Appendix D.2, who round down, and may end before the last);
      "logsnr", evenly spaced in the logarithm of the signal-to-noise ratio (Lu et al., 2022,
      section 6); "rho", evenly spaced in the noise level to the power of 1/7 (Karras et al., 2022,
      Eq. 5), or "rho" and another number than 7. The last two begin at a noise level of 80 or less.

  Raises:
    InputError: the process has no such timesteps.
  """
  total = len(alphas_cumprod)
  if count is None or spacing == "uniform":
    return respacing.space_timesteps(total, "" if count is None else str(count))
  if spacing == "stride":
    return respacing.space_timesteps(total, f"ddim{count}")
  if spacing.startswith("sections"):
    numbers = spacing.removeprefix("sections").split("-")
    in_all = sum(map(int, numbers))
    settings.require(
      count == in_all, "respacing", f"{in_all} steps, the sum of those in {spacing}", count
    )
    return respacing.space_timesteps(total, ",".join(numbers))
  if count > total:
    message = f"expected at most {total} timesteps, as many as the process has, received {count}"
    raise settings.InputError("respacing", message)
  if spacing == "quadratic":
    roots = np.linspace(0, np.sqrt(total - 1), count)
    return _distinct(np.round(roots**2).astype(np.int32), total - 1)
  levels = noise_levels(alphas_cumprod)
  last = max(int(np.searchsorted(levels, MAX_NOISE_LEVEL, side="right")) - 1, count - 1)
  if spacing == "logsnr":
    positions = np.log(levels)
  else:
    positions = levels ** (1 / float(spacing.removeprefix("rho") or _EDM_RHO))
  wanted = np.linspace(positions[0], positions[last], count)
  nearest = np.round(np.interp(wanted, positions[: last + 1], np.arange(last + 1)))
  return _distinct(nearest.astype(np.int32), last)


def noise_levels(alphas_cumprod: np.ndarray) -> np.ndarray:
  """Returns sqrt((1 - alpha bar) / alpha bar), EDM's sigma: noise beside an image of scale 1."""
  return np.sqrt((1 - alphas_cumprod) / alphas_cumprod)


def _distinct(values: np.ndarray, last: int) -> np.ndarray:
  """Moves timesteps apart that are the same, as little as necessary.

  Args:
    values: timesteps from 0 to `last` that do not decrease, `[count]`.
    last: the largest timestep, at least count - 1.
  """
  index = np.arange(len(values))
  # Of values - index, increasing values do not decrease.
  apart = np.maximum.accumulate(values - index) + index
  return np.minimum(apart, last - index[::-1]).astype(np.int32)
