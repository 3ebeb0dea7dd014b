"""The best checkpoint of a run by a score (Appendices F and G: models overfit, and early stopping matters)."""

import json
import math
import pathlib
from typing import NamedTuple

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.models import checkpoints as checkpoints_lib
from iddpm_tf.utils import files

FOLDER = "best"  # In the model folder, as its `checkpoints`.
FILE = "best.json"
_LOWER_IS_BETTER = ("fid", "sfid", *config_lib.LIKELIHOODS)


class Best(NamedTuple):
  """What `best.json` says."""

  score: str
  value: float
  step: int
  ema: float  # Rate of the averages that had the score.
  measured: dict  # What else the value depends on, such as the number of samples.


def read(folder):
  """The `Best` of a model folder, or None; `ValueError` for a file that is none."""
  path = pathlib.Path(folder) / FILE
  if not path.exists():
    return None
  try:
    found = Best(**json.loads(path.read_text(errors="replace")))
    kinds = (str, float, int, float, dict)
    if not all(isinstance(value, kind) for value, kind in zip(found, kinds, strict=True)):
      raise TypeError("of other types")
    return found
  except (TypeError, ValueError) as error:
    raise settings.InputError(
      path, f"expected score, value, step, ema and measured, received another file ({error})"
    ) from None


def keep_if_better(candidates, state, folder):
  """Saves the `TrainState` if the best of some `Best`s is better than the folder's; whether it did.

  One that was measured otherwise, or of a step that this run has yet to make, is no rival. Nor are values that are
  not finite.
  """
  candidates = [candidate for candidate in candidates if math.isfinite(candidate.value)]
  if not candidates:
    return False
  sign = 1 if candidates[0].score in _LOWER_IS_BETTER else -1
  chosen = min(candidates, key=lambda candidate: sign * candidate.value)
  before = read(folder)
  rival = (
    before
    and (before.score, before.measured) == (chosen.score, chosen.measured)
    and before.step <= chosen.step
  )
  if rival and sign * before.value <= sign * chosen.value:
    return False
  # The one before stays until best.json no longer names it.
  checkpoints = checkpoints_lib.Checkpoints(state, folder, name=FOLDER)
  checkpoints.save(chosen.step)
  with files.whole(pathlib.Path(folder) / FILE) as temporary:
    temporary.write_text(json.dumps(chosen._asdict()) + "\n")
  checkpoints.delete_others(chosen.step)
  return True
