"""Saving and restoring what a run needs to go on as if it had never stopped."""

import pathlib

import tensorflow as tf

from iddpm_tf.training import state as state_lib

FOLDER = "checkpoints"
_NAME = "step"


class Checkpoints:
  """The checkpoints of a run, newest last."""

  def __init__(self, state, folder, keep=None):
    """Of a `TrainState`, or of any `tf.train.Checkpoint`, in the model folder `folder`."""
    self.folder = pathlib.Path(folder) / FOLDER
    self._checkpoint = state if isinstance(state, tf.train.Checkpoint) else state.checkpoint()
    self._manager = tf.train.CheckpointManager(
        self._checkpoint, self.folder, max_to_keep=keep, checkpoint_name=_NAME)

  def save(self, step):
    self._manager.save(checkpoint_number=step)

  def newest(self):
    """The path of the newest one, or None.

    Raises:
      ValueError: there are checkpoints that the folder's own list does not know of, as after a
        damaged copy; starting over in silence would lose them.
    """
    listed = [path for path in self._manager.checkpoints if pathlib.Path(f"{path}.index").exists()]
    if not listed and any(self.folder.glob(f"{_NAME}-*")):
      raise ValueError(f"{self.folder}: expected a file 'checkpoint' that lists the checkpoints beside it, "
                       "received none that can be read")
    return listed[-1] if listed else None

  def restore(self, *, partial=False):
    """Restores the newest; the step it was saved at, or 0 where there is none.

    Args:
      partial: whether the file may hold more than is asked for.

    Raises:
      ValueError: it is damaged, or of something else.
    """
    path = self.newest()
    if path is None:
      return 0
    try:
      status = self._checkpoint.restore(path)
      status.assert_existing_objects_matched() if partial else status.assert_consumed()
    except (tf.errors.OpError, AssertionError, ValueError, IndexError) as error:
      raise ValueError(
          f"{path}: expected a whole checkpoint of this model, received a damaged or foreign one "
          f"({str(error).splitlines()[0][:200]}); to go on from the one before, remove {path}.*") from None
    return int(path.rsplit("-", 1)[-1])


def restore_network(network, folder, ema):
  """Gives a built network the newest weights, or their averages of rate `ema`; the step.

  Raises:
    ValueError: no checkpoint, or a damaged one.
  """
  variables = state_lib.by_path(network)
  checkpoint = (tf.train.Checkpoint(averages={str(ema): variables}) if ema
                else tf.train.Checkpoint(network=variables))
  checkpoints = Checkpoints(checkpoint, folder)
  if checkpoints.newest() is None:
    raise ValueError(f"--model_dir: expected a model with a checkpoint, received {folder}, which has none")
  return checkpoints.restore(partial=True)
