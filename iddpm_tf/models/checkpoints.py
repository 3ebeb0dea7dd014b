"""Saving and restoring checkpoints, from which a run continues as if it had never stopped."""

from collections.abc import Collection
import math
import os
import pathlib
from typing import Protocol

import keras
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.models import model_dir as model_dir_lib

_LOWER_IS_BETTER = ("fid", "sfid", "kid", *config_lib.LIKELIHOODS)


class Saveable(Protocol):
  """Something that a checkpoint holds, such as the state of a training."""

  def checkpoint(self, names: Collection[str] | None = None) -> tf.train.Checkpoint:
    """Returns the checkpoint, or the part of it that a file holds whose variables have `names`."""

  def complete(self, names: Collection[str]) -> None:
    """Gives values to the parts that a file lacks, after it has been restored."""


class Checkpoints:
  """The checkpoints in one folder, newest last."""

  def __init__(
    self,
    content: Saveable | tf.train.Checkpoint,
    folder: str | os.PathLike[str],
    keep: int | None = None,
  ):
    """Opens a folder of checkpoints, which need not exist yet.

    Args:
      content: what the checkpoints hold.
      folder: the folder, such as `ModelDir.checkpoints`.
      keep: the number of checkpoints to keep. None keeps all.

    Raises:
      InputError: TensorFlow's list of checkpoints in the folder cannot be read.
    """
    self.folder = pathlib.Path(folder)
    self._content = content
    self._checkpoint = content if isinstance(content, tf.train.Checkpoint) else content.checkpoint()
    try:
      self._manager = tf.train.CheckpointManager(
        self._checkpoint, self.folder, max_to_keep=keep, checkpoint_name=model_dir_lib.CHECKPOINT
      )
    except UnicodeDecodeError as error:
      message = (
        f"expected TensorFlow's list of checkpoints, received bytes that are no text ({error})"
      )
      raise settings.InputError(self.folder / "checkpoint", message) from None

  def save(self, step: int) -> None:
    """Saves a checkpoint of a step."""
    self._manager.save(checkpoint_number=step)

  def delete_others(self, step: int) -> None:
    """Deletes the checkpoints of all other steps."""
    kept = self._path(step).name
    for path in self.folder.glob(f"{model_dir_lib.CHECKPOINT}-*"):
      # A folder is what a killed process left of a checkpoint. Nothing reads it.
      if path.is_file() and path.stem != kept:
        path.unlink()

  def newest(self) -> str | None:
    """Returns the path of the newest whole checkpoint, or None where there has never been one.

    A killed process can leave a whole checkpoint that TensorFlow's list (the file `checkpoint`)
    does not name. It counts. A checkpoint that the list names and that is gone is an error, because
    continuing from an earlier one would silently lose work.

    Raises:
      InputError: a file of the newest checkpoint of the list is missing.
    """
    steps = model_dir_lib.ModelDir.checkpoint_steps(self.folder)
    whole = {step for step in steps if any(self.folder.glob(f"{self._path(step).name}.data-*"))}
    listed = [model_dir_lib.step_of(path) for path in self._manager.checkpoints]
    if listed and listed[-1] not in whole:
      raise settings.InputError(
        self._path(listed[-1]),
        f"expected the newest checkpoint, which {self.folder}/checkpoint lists, received no such "
        "files, or a part of them",
      )
    return str(self._path(max(whole))) if whole else None

  def restore(self, *, partial: bool = False, step: int | None = None) -> int:
    """Restores a checkpoint.

    Args:
      partial: whether the file may hold more than the content.
      step: the step of the checkpoint. None restores the newest.

    Returns:
      The step of the checkpoint, or 0 where there is none.

    Raises:
      InputError: the checkpoint is damaged, or holds something else.
    """
    path = self.newest() if step is None else self.path(step)
    if path is None:
      return 0
    try:
      names = [name for name, _ in tf.train.list_variables(path)]
      status = self._matching(names).restore(path)
      if partial:
        status.assert_existing_objects_matched()
      else:
        status.assert_consumed()
      status.expect_partial()  # Otherwise each part that is left out is warned of at exit.
    except (tf.errors.OpError, AssertionError, ValueError, IndexError) as error:
      reason = str(error).splitlines()[0][:200]
      message = (
        f"expected a whole checkpoint of this model, received a damaged or other one ({reason})"
      )
      raise settings.InputError(path, message) from None
    if not isinstance(self._content, tf.train.Checkpoint):
      self._content.complete(names)
    return model_dir_lib.step_of(path)

  def path(self, step: int) -> str:
    """Returns the path of the checkpoint of a step, without the suffixes of its files."""
    return str(self._path(step))

  def _path(self, step: int) -> pathlib.Path:
    return model_dir_lib.ModelDir.checkpoint_path(self.folder, step)

  def _matching(self, names: Collection[str]) -> tf.train.Checkpoint:
    """Returns what to restore from a file whose variables have these names."""
    if isinstance(self._content, tf.train.Checkpoint):
      return self._content
    return self._content.checkpoint(names)


def average_rates(names: Collection[str]) -> set[float]:
  """Returns the rates of the moving averages in a checkpoint whose variables have these names."""
  parts = [name.split("/") for name in names]
  # TensorFlow writes a dot in a name as two.
  return {float(part[1].replace("..", ".")) for part in parts if part[0] == "averages"}


def variables_by_path(network: keras.Model) -> dict[str, tf.Variable]:
  """Returns the network's trainable variables by path."""
  variables = network.trainable_variables
  named = {variable.path: variable.value for variable in variables}
  assert len(named) == len(variables), "two variables have the same path"
  return named


def restore_network(
  network: keras.Model, folder: str | os.PathLike[str], ema: float, *, step: int | None = None
) -> int:
  """Restores the weights of a built network.

  Args:
    network: the network.
    folder: a folder of checkpoints.
    ema: the rate of the moving averages to use as weights; 0 for the raw weights.
    step: the step of the checkpoint. None restores the newest.

  Returns:
    The step of the checkpoint.

  Raises:
    InputError: there is no checkpoint, it is damaged, or it lacks the rate.
  """
  variables = variables_by_path(network)
  checkpoint = (
    tf.train.Checkpoint(averages={str(ema): variables})
    if ema
    else tf.train.Checkpoint(network=variables)
  )
  checkpoints = Checkpoints(checkpoint, folder)
  newest = checkpoints.newest()
  if newest is None:
    message = f"expected a model with a checkpoint, received {folder}, which holds none"
    raise settings.InputError("model_dir", message)
  if ema:
    path = newest if step is None else checkpoints.path(step)
    _require_rate(path, ema)
  return checkpoints.restore(partial=True, step=step)


def _require_rate(path: str, ema: float) -> None:
  """Checks that a checkpoint holds a rate, which may have been added to the run later."""
  try:
    rates = average_rates([name for name, _ in tf.train.list_variables(path)])
  except (tf.errors.OpError, ValueError, IndexError):
    return  # Restoring the checkpoint says what is wrong with it.
  if rates and ema not in rates:
    present = ", ".join(map(str, sorted(rates)))
    message = f"expected a rate that {path} holds ({present}, or 0), received {ema}, which is newer"
    raise settings.InputError("ema", message)


def keep_if_better(
  candidates: list[model_dir_lib.Best], content: Saveable, folder: model_dir_lib.ModelDir
) -> bool:
  """Saves the best checkpoint if one of the candidates is better than the folder's best one.

  The folder's best one does not count if it was measured in another way, or if it is of a step that
  this run has not reached. Values that are not finite are ignored.

  Args:
    candidates: scores of the same step, one for each moving average.
    content: what the checkpoint holds.
    folder: the model folder.

  Returns:
    Whether a checkpoint was saved.
  """
  candidates = [candidate for candidate in candidates if math.isfinite(candidate.value)]
  if not candidates:
    return False
  sign = 1 if candidates[0].score in _LOWER_IS_BETTER else -1
  chosen = min(candidates, key=lambda candidate: sign * candidate.value)
  before = folder.read_best()
  if before is not None:
    same_measure = (before.score, before.measured) == (chosen.score, chosen.measured)
    if same_measure and before.step <= chosen.step and sign * before.value <= sign * chosen.value:
      return False
  checkpoints = Checkpoints(content, folder.best_checkpoints)
  checkpoints.save(chosen.step)
  # The checkpoint before stays until best.json no longer names it.
  folder.write_best(chosen)
  checkpoints.delete_others(chosen.step)
  return True
