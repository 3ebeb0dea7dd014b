"""Which of the T timesteps a shorter process keeps (section 4, Appendix E).

Each function returns sorted 0-based timesteps, NumPy int32.
"""

import numpy as np

from iddpm_tf import settings


def space_timesteps(steps, respacing):
  """The timesteps that `respacing` keeps of `steps`.

  Args:
    steps: T.
    respacing: "" for all of them; "N" for N evenly spaced ones from the first to the last; "a,b,c"
      for so many in each of as many equal sections; "ddimN" for N at a constant integer stride
      from the first (Song et al., 2020, which section 4 keeps for DDIM).

  Raises:
    ValueError: `respacing` is none of these, or asks for more timesteps than there are.
  """
  if not respacing:
    return np.arange(steps, dtype=np.int32)
  if respacing.startswith("ddim"):
    return _constant_stride(steps, _count(respacing.removeprefix("ddim"), respacing))
  return _sections(steps, [_count(part, respacing) for part in respacing.split(",")], respacing)


def likelihood_timesteps(steps, count):
  """Appendix E's schedule for likelihoods: strided, and every t from 1 to T/K as well."""
  strided = space_timesteps(steps, str(count))
  return np.union1d(strided, np.arange(steps // count, dtype=np.int32))


def _count(text, respacing):
  if not (text.isascii() and text.isdigit() and int(text) > 0):
    raise settings.InputError(
      "respacing", f"expected 'N', 'a,b,c' or 'ddimN' with positive counts, received {respacing!r}"
    )
  return int(text)


def _constant_stride(steps, count):
  if count == 1:
    return np.zeros(1, np.int32)
  for stride in range(1, steps):
    kept = np.arange(0, steps, stride, dtype=np.int32)
    if len(kept) == count:
      return kept
  possible = sorted({-(-steps // stride) for stride in range(1, steps + 1)})
  nearest = sorted(possible, key=lambda other: abs(other - count))[:2]
  raise ValueError(
    f"respacing 'ddim{count}': no integer stride keeps {count} of {steps} timesteps; "
    f"the nearest counts that can be are {' and '.join(map(str, sorted(nearest)))}"
  )


def _sections(steps, counts, respacing):
  sizes = [steps // len(counts) + (i < steps % len(counts)) for i in range(len(counts))]
  kept, start = [], 0
  for size, count in zip(sizes, counts):
    if count > size:
      raise ValueError(
        f"respacing {respacing!r}: expected at most {size} timesteps in a section of "
        f"{size}, received {count}"
      )
    stride = (size - 1) / (count - 1) if count > 1 else 1.0
    # The stride is added up, not multiplied: halves then round as they do for the authors.
    positions = np.cumsum([0.0] + [stride] * (count - 1))
    kept.append(start + np.round(positions).astype(np.int32))
    start += size
  return np.concatenate(kept)
