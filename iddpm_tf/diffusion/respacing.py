"""The timesteps that a shorter process keeps (section 4, Appendix E): sorted, 0-based, int32."""

import numpy as np

from iddpm_tf import settings


def space_timesteps(steps: int, respacing: str) -> np.ndarray:
  """Returns the timesteps that `respacing` keeps of `steps`.

  Args:
    steps: T, the number of timesteps.
    respacing: "" keeps all. "N" keeps N evenly spaced ones from the first to the last. "a,b,c"
      splits the timesteps into equal sections and keeps a, b and c of them. "ddimN" keeps N at a
      constant integer stride from the first (Song et al., 2020; section 4 uses it for DDIM).

  Raises:
    InputError: `respacing` is something else, or asks for more timesteps than there are.
  """
  if not respacing:
    return np.arange(steps, dtype=np.int32)
  if respacing.startswith("ddim"):
    return _constant_stride(steps, _count(respacing.removeprefix("ddim"), respacing))
  return _sections(steps, [_count(part, respacing) for part in respacing.split(",")], respacing)


def likelihood_timesteps(steps: int, count: int) -> np.ndarray:
  """Returns Appendix E's schedule for likelihoods: `count` strided timesteps, and every t < T/K."""
  strided = space_timesteps(steps, str(count))
  return np.union1d(strided, np.arange(steps // count, dtype=np.int32))


def _count(text, respacing):
  if not (text.isascii() and text.isdigit() and int(text) > 0):
    message = f"expected 'N', 'a,b,c' or 'ddimN' with positive counts, received {respacing!r}"
    raise settings.InputError("respacing", message)
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
  raise settings.InputError(
    "respacing",
    f"expected a number of steps that an integer stride keeps of {steps} timesteps, received "
    f"'ddim{count}'; the nearest are {' and '.join(map(str, sorted(nearest)))}",
  )


def _sections(steps, counts, respacing):
  sizes = [steps // len(counts) + (i < steps % len(counts)) for i in range(len(counts))]
  kept, start = [], 0
  for size, count in zip(sizes, counts):
    if count > size:
      raise settings.InputError(
        "respacing",
        f"expected at most {size} timesteps in a section of {size}, received {count} "
        f"({respacing!r})",
      )
    stride = (size - 1) / (count - 1) if count > 1 else 1.0
    # The stride is added up, not multiplied, so that halves round as they do in the authors' code.
    positions = np.cumsum([0.0] + [stride] * (count - 1))
    kept.append(start + np.round(positions).astype(np.int32))
    start += size
  return np.concatenate(kept)
