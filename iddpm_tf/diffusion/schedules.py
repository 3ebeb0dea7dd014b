"""Noise schedules: betas of T noising steps, NumPy float64 `[T]`."""

import numpy as np

from iddpm_tf import settings

# Eq. 17. The offset s keeps sqrt(beta_0) just below the pixel bin size, 1/127.5.
COSINE_OFFSET = 0.008
MAX_BETA = 0.999


def linear_betas(steps):
  """The schedule of Ho et al. (2020), its endpoints scaled by 1000/T (Appendix A)."""
  scale = 1000 / steps
  if 0.02 * scale >= 1:
    raise ValueError(f"linear schedule: expected more than 20 steps, received {steps}")
  return np.linspace(0.0001 * scale, 0.02 * scale, steps, dtype=np.float64)


def cosine_betas(steps):
  """The cosine schedule, Eq. 17, with betas of at most 0.999."""
  time = np.arange(steps + 1, dtype=np.float64) / steps
  alphas_cumprod = np.cos((time + COSINE_OFFSET) / (1 + COSINE_OFFSET) * np.pi / 2) ** 2
  return np.minimum(1 - alphas_cumprod[1:] / alphas_cumprod[:-1], MAX_BETA)


SCHEDULES = {"linear": linear_betas, "cosine": cosine_betas}


def make_betas(schedule, steps):
  """Betas `[steps]` of the schedule of that name."""
  if schedule not in SCHEDULES:
    raise settings.InputError(
      "schedule", f"expected one of {', '.join(SCHEDULES)}, received {schedule!r}"
    )
  if steps < 1:
    raise ValueError(f"{schedule} schedule: expected at least 1 step, received {steps}")
  return SCHEDULES[schedule](steps)
