"""Saving and restoring what a run needs to go on as if it had never stopped."""

import pathlib

import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.training import state as state_lib

FOLDER = "checkpoints"
_NAME = "step"


class Checkpoints:
  """The checkpoints of a run, newest last."""

  def __init__(self, state, folder, keep=None, name=FOLDER):
    """Of a `TrainState`, or of any `tf.train.Checkpoint`, in `name` in the model folder `folder`."""
    self.folder = pathlib.Path(folder) / name
    self._state = None if isinstance(state, tf.train.Checkpoint) else state
    self._checkpoint = self._state.checkpoint() if self._state else state
    try:
      self._manager = tf.train.CheckpointManager(
        self._checkpoint, self.folder, max_to_keep=keep, checkpoint_name=_NAME
      )
    except UnicodeDecodeError as error:
      raise settings.InputError(
        self.folder / "checkpoint",
        f"expected TensorFlow's list of checkpoints, received bytes that are no text ({error})",
      ) from None

  def save(self, step):
    self._manager.save(checkpoint_number=step)

  def delete_others(self, step):
    """Deletes the checkpoints of all steps but one."""
    for path in self.folder.glob(f"{_NAME}-*"):
      # A folder is what a kill left of a checkpoint that was being written: nobody reads it.
      if path.is_file() and path.stem != f"{_NAME}-{step}":
        path.unlink()

  def newest(self):
    """The path of the newest whole one, or None where there has never been any.

    A kill can leave a checkpoint whole and TensorFlow's list of them (the file `checkpoint`) without it:
    it counts all the same. One that is listed and gone is an error: to go on from an earlier one in
    silence would lose work.

    Raises:
      ValueError: the newest of the list is not there, or in part.
    """
    steps = {int(path.stem.rsplit("-", 1)[1]) for path in self.folder.glob(f"{_NAME}-*.index")}
    whole = {step for step in steps if any(self.folder.glob(f"{_NAME}-{step}.data-*"))}
    listed = [int(path.rsplit("-", 1)[1]) for path in self._manager.checkpoints]
    if listed and listed[-1] not in whole:
      raise settings.InputError(
        self.folder / f"{_NAME}-{listed[-1]}",
        f"expected the newest checkpoint, which "
        f"{self.folder}/checkpoint lists, received no such files, or a part of them",
      )
    return self._path(max(whole)) if whole else None

  def restore(self, *, partial=False, step=None):
    """Restores the newest; the step it was saved at, or 0 where there is none.

    Args:
      partial: whether the file may hold more than is asked for.
      step: that of the one to restore instead.

    Raises:
      ValueError: it is damaged, or of something else.
    """
    path = self.newest() if step is None else self._path(step)
    if path is None:
      return 0
    try:
      status = self._as_in(path).restore(path)
      status.assert_existing_objects_matched() if partial else status.assert_consumed()
      status.expect_partial()  # Or the parts not asked for are warned of at exit, one by one.
    except (tf.errors.OpError, AssertionError, ValueError, IndexError) as error:
      raise settings.InputError(
        path,
        f"expected a whole checkpoint of this model, received a damaged or foreign one "
        f"({str(error).splitlines()[0][:200]})",
      ) from None
    return int(path.rsplit("-", 1)[-1])

  def _path(self, step):
    return str(self.folder / f"{_NAME}-{step}")

  def _as_in(self, path):
    """What to restore from the checkpoint at `path`: one of version 1 lacks the optimizer's moments_start."""
    if self._state and not any(
      "moments_start" in name for name, _ in tf.train.list_variables(path)
    ):
      return self._state.checkpoint(moments_start=False)
    return self._checkpoint


def restore_network(network, folder, ema, *, name=FOLDER, step=None):
  """Gives a built network the newest weights, or their averages of rate `ema`; the step.

  `name` and `step`: as for `Checkpoints` and its `restore`.

  Raises:
    ValueError: no checkpoint, or a damaged one.
  """
  variables = state_lib.by_path(network)
  checkpoint = (
    tf.train.Checkpoint(averages={str(ema): variables})
    if ema
    else tf.train.Checkpoint(network=variables)
  )
  checkpoints = Checkpoints(checkpoint, folder, name=name)
  if checkpoints.newest() is None:
    raise settings.InputError(
      "model_dir",
      f"expected a model with a checkpoint, received {folder}, which has none in "
      f"{checkpoints.folder.name}/",
    )
  return checkpoints.restore(partial=True, step=step)
