"""Saving and restoring checkpoints, from which a run continues as if it had never stopped."""

import math
import os
import pathlib
from typing import Protocol

import keras
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.models import model_dir as model_dir_lib

_LOWER_IS_BETTER = ("fid", "sfid", *config_lib.LIKELIHOODS)


class Saveable(Protocol):
  """Something that a checkpoint holds, such as the state of a training."""

  def checkpoint(self, *, moments_start: bool = True) -> tf.train.Checkpoint:
    """Returns the checkpoint; without the optimizer's `moments_start` for files of version 1."""


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
    path = self.newest() if step is None else str(self._path(step))
    if path is None:
      return 0
    try:
      status = self._matching(path).restore(path)
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
    return model_dir_lib.step_of(path)

  def _path(self, step: int) -> pathlib.Path:
    return model_dir_lib.ModelDir.checkpoint_path(self.folder, step)

  def _matching(self, path: str) -> tf.train.Checkpoint:
    """Returns what to restore from a file: one of version 1 lacks the optimizer's moments_start."""
    names = [name for name, _ in tf.train.list_variables(path)]
    if self._content is not self._checkpoint and not any("moments_start" in name for name in names):
      return self._content.checkpoint(moments_start=False)
    return self._checkpoint


def variables_by_path(
  network: keras.Model, values: list[tf.Variable] | None = None
) -> dict[str, tf.Variable]:
  """Returns the network's trainable variables, or `values` in their order, by path."""
  variables = network.trainable_variables
  if values is None:
    values = [variable.value for variable in variables]
  named = {variable.path: value for variable, value in zip(variables, values, strict=True)}
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
    InputError: there is no checkpoint, or it is damaged.
  """
  variables = variables_by_path(network)
  checkpoint = (
    tf.train.Checkpoint(averages={str(ema): variables})
    if ema
    else tf.train.Checkpoint(network=variables)
  )
  checkpoints = Checkpoints(checkpoint, folder)
  if checkpoints.newest() is None:
    message = f"expected a model with a checkpoint, received {folder}, which holds none"
    raise settings.InputError("model_dir", message)
  return checkpoints.restore(partial=True, step=step)


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
