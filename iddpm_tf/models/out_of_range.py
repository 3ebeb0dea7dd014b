"""How much of the predicted x_0 and v left their ranges while images were drawn."""

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf.diffusion.samplers import loop

# The share of the last x_0 outside [-1, 1] from which one sees it.
_NOTABLE_SHARE = 0.01
# The share of x_0 in all steps from which a training says so. Trained models stay below it.
_LARGE_SHARE = 0.5


class Counter:
  """Adds up the numbers of a `loop.OutOfRange` over batches."""

  def __init__(self) -> None:
    self._batches: list[list[int]] = []

  def add(self, numbers: list[int]) -> None:
    """Adds the numbers of a batch, in the order of `loop.OutOfRange`."""
    self._batches.append(numbers)

  def clear(self) -> None:
    """Forgets all batches."""
    self._batches.clear()

  def total(self) -> loop.OutOfRange | None:
    """Returns the sums over all batches since `clear`, or None without any."""
    return loop.OutOfRange(*np.sum(self._batches, axis=0).tolist()) if self._batches else None


def shares(config: config_lib.Config, outside: loop.OutOfRange) -> dict[str, float]:
  """Returns the shares of values that left their ranges, from 0 to 1.

  Args:
    config: the configuration of the model.
    outside: the sums over all batches.

  Returns:
    `x_start_out_of_range`, the share of the predicted x_0 outside [-1, 1] in all steps;
    `x_start_out_of_range_last_step`; and, for a model with v, `v_out_of_range`, the share of v
    outside [0, 1].
  """
  values = {
    "x_start_out_of_range": outside.x_start / outside.values,
    "x_start_out_of_range_last_step": outside.last_x_start / outside.last_values,
  }
  if config.diffusion.variance_type == "learned_range":
    values["v_out_of_range"] = outside.v / outside.values
  return values


def describe(config: config_lib.Config, outside: loop.OutOfRange) -> str:
  """Returns how much of the predicted x_0 and v left their ranges, in words.

  Args:
    config: the configuration of the model.
    outside: the sums over all batches.
  """
  share, last, *v = shares(config, outside).values()
  text = f"{share:.1%} of the predicted x_0 left [-1, 1], {last:.1%} in the last step"
  sampling = config.sampling
  if sampling.dynamic_threshold:
    text += f", and was scaled back by dynamic_threshold={sampling.dynamic_threshold}"
  else:
    text += f", and was {'' if sampling.clip_denoised else 'not '}clipped"
  return text + "".join(f"; {share:.1%} of v left [0, 1]" for share in v)


def is_large(outside: loop.OutOfRange) -> bool:
  """Returns whether at least half of the predicted x_0 left [-1, 1]."""
  return outside.x_start >= _LARGE_SHARE * outside.values


def note_of_extremes(config: config_lib.Config, outside: loop.OutOfRange) -> str | None:
  """Returns a note if a notable part of images is black or white for lack of clipping.

  Args:
    config: the configuration of the model.
    outside: the sums over all batches.
  """
  share = outside.last_x_start / outside.last_values
  sampling = config.sampling
  if sampling.clip_denoised or sampling.dynamic_threshold or share < _NOTABLE_SHARE:
    return None
  return (
    f"note: {share:.1%} of the values are outside [-1, 1] and become black or white; "
    "clip_denoised or dynamic_threshold=0.995 holds the predicted x_0 inside"
  )
