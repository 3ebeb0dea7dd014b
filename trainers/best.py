"""The best checkpoint of a run by a score (Appendices F and G: models overfit, and early stopping matters)."""

import json
import pathlib
from typing import NamedTuple

from iddpm_tf import atomic
from trainers import checkpoints as checkpoints_lib

FOLDER = "best"  # In the model folder, as its `checkpoints`.
FILE = "best.json"
_LOWER_IS_BETTER = ("fid", "sfid", "nll")


class Best(NamedTuple):
  """What `best.json` says."""
  score: str
  value: float
  step: int
  ema: float  # Rate of the averages that had the score.


def read(folder):
  """The `Best` of a model folder, or None; `ValueError` for a file that is none."""
  path = pathlib.Path(folder) / FILE
  if not path.exists():
    return None
  try:
    found = Best(**json.loads(path.read_text()))
    if not (isinstance(found.step, int) and isinstance(found.value, float) and isinstance(found.score, str)):
      raise TypeError("of other types")
    return found
  except (TypeError, ValueError) as error:
    raise ValueError(f"{path}: expected score, value, step and ema, received another file ({error})") from None


def keep_if_better(candidates, state, folder):
  """Saves the `TrainState` if the best of some `Best`s is better than the folder's, or of another score.

  Returns whether it did.
  """
  sign = 1 if candidates[0].score in _LOWER_IS_BETTER else -1
  chosen = min(candidates, key=lambda candidate: sign * candidate.value)
  before = read(folder)
  if before and before.score == chosen.score and sign * before.value <= sign * chosen.value:
    return False
  # The one before is kept, since best.json names it until it is replaced.
  checkpoints_lib.Checkpoints(state, folder, keep=2, name=FOLDER).save(chosen.step)
  with atomic.whole(pathlib.Path(folder) / FILE) as temporary:
    temporary.write_text(json.dumps(chosen._asdict()) + "\n")
  return True
