"""Saving and restoring checkpoints, from which a run continues as if it had never stopped."""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Sequence
import concurrent.futures
import contextlib
import functools
import math
import os
import pathlib
import shutil
from typing import NamedTuple
from typing import Protocol

from google.protobuf import message as protobuf_message
from google.protobuf import text_format
import keras
import numpy as np
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.utils import files
from iddpm_tf.utils import progress as progress_lib

_LOWER_IS_BETTER = ("fid", "fid_infinity", "sfid", "kid", *config_lib.LIKELIHOODS)
_LIST = "checkpoint"  # TensorFlow's list of the checkpoints in a folder.
_DAMAGED = "damaged"  # The folder that damaged checkpoints are moved to.
_DATA = ".data-00000-of-00001"
# What TensorFlow raises for files that are not what was written.
_DAMAGE = (tf.errors.OpError, protobuf_message.DecodeError, UnicodeDecodeError, IndexError)


class Saveable(Protocol):
  """Something that a checkpoint holds, such as the state of a training."""

  def checkpoint(self, names: Collection[str] | None = None) -> tf.train.Checkpoint:
    """Returns the checkpoint, or the part of it that a file holds whose variables have `names`."""

  def complete(self, names: Collection[str]) -> None:
    """Gives values to the parts that a file lacks, after it has been restored."""

  def snapshot(self) -> tf.train.Checkpoint:
    """Returns a checkpoint of the current values in host memory, which later steps leave."""


class SaveError(files.DiskError):
  """A checkpoint was not saved. The earlier ones are as they were."""


class Skipped(NamedTuple):
  """A damaged checkpoint that was not restored."""

  path: str
  reason: str


class Checkpoints:
  """The checkpoints in one folder, newest last.

  A checkpoint appears in the folder when all of it is on the disk and has been read back.

  Attributes:
    folder: the folder.
    skipped: the damaged checkpoints that the last `restore` has skipped, newest first.
  """

  def __init__(
    self,
    content: Saveable | tf.train.Checkpoint,
    folder: str | os.PathLike[str],
    keep: int | None = None,
    *,
    keep_every: int = 0,
  ):
    """Opens a folder of checkpoints, which need not exist yet.

    Args:
      content: what the checkpoints hold.
      folder: the folder, such as `ModelDir.checkpoints`.
      keep: the number of checkpoints to keep. None keeps all.
      keep_every: checkpoints of steps that are multiples of it are kept as well; 0: no others.
    """
    self.folder = pathlib.Path(folder)
    self.skipped: list[Skipped] = []
    self._content, self._keep, self._keep_every = content, keep, keep_every
    self._writer = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
    self._writing: concurrent.futures.Future[None] | None = None

  def save(self, step: int) -> None:
    """Saves a checkpoint of a step, and returns when it is on the disk.

    Raises:
      SaveError: it, or an earlier one in the background, cannot be saved.
    """
    self.wait()
    content = self._content
    self._write(content if isinstance(content, tf.train.Checkpoint) else content.checkpoint(), step)

  def save_in_background(self, step: int, on_saved: Callable[[str], object] | None = None) -> None:
    """Copies the content, a `Saveable`, and saves the copy while the caller goes on.

    Args:
      step: the step.
      on_saved: called with the path in another thread once the checkpoint is on the disk.

    Raises:
      SaveError: an earlier save in the background has failed.
    """
    self.wait()
    assert not isinstance(self._content, tf.train.Checkpoint), "there is no copy of it"
    snapshot = self._content.snapshot()

    def write():
      self._write(snapshot, step)
      if on_saved:
        on_saved(self.path(step))

    self._writing = self._writer.submit(write)

  def wait(self) -> None:
    """Waits for the save in the background, if there is one.

    Raises:
      SaveError: it has failed.
    """
    writing, self._writing = self._writing, None
    if writing is not None:
      writing.result()

  def settle(self) -> None:
    """Waits for the save in the background, whatever becomes of it."""
    with contextlib.suppress(SaveError):
      self.wait()

  def delete_others(self, step: int) -> None:
    """Deletes the checkpoints of all other steps."""
    for other in self._steps() - {step}:
      self._delete(other)

  def sweep(self) -> None:
    """Deletes what killed saves have left. No other process may be saving."""
    if self.folder.is_dir():
      with files.workspace(self.folder):
        pass  # It deletes those of this version.
      for leftover in self.folder.glob(f"{model_dir_lib.CHECKPOINT}-*_temp"):
        shutil.rmtree(leftover, ignore_errors=True)
      steps = self._steps()
      for path in self.folder.glob(f"{model_dir_lib.CHECKPOINT}-*.data-*"):
        if model_dir_lib.step_of(path.stem) not in steps:
          path.unlink(missing_ok=True)

  def set_aside_skipped(self) -> None:
    """Moves the skipped checkpoints to the folder `damaged`, so that no one tries them again."""
    for skipped in self.skipped:
      target = self.folder / _DAMAGED
      target.mkdir(exist_ok=True)
      for path in self._files(model_dir_lib.step_of(skipped.path)):
        os.replace(path, target / path.name)
    if self.skipped:
      self._write_list(sorted(self._whole_steps()))

  def newest(self) -> str | None:
    """Returns the path of the newest checkpoint whose files are there, or None."""
    step = self.newest_step()
    return self.path(step) if step >= 0 else None

  def newest_step(self) -> int:
    """Returns the step of the newest checkpoint whose files are there, or -1."""
    return max(self._whole_steps(), default=-1)

  def restore(
    self,
    *,
    partial: bool = False,
    step: int | None = None,
    strict: bool = False,
    require: Callable[[str, Collection[str]], None] | None = None,
  ) -> int:
    """Restores a checkpoint. `skipped` then lists the damaged ones that are newer.

    Args:
      partial: whether the file may hold more than the content.
      step: the step of the checkpoint. None restores the newest that is not damaged.
      strict: whether a damaged newest checkpoint is an error.
      require: gets the path and the names of the variables before they are restored, and raises an
        error if they are not the right ones.

    Returns:
      The step of the checkpoint, or 0 where there is none.

    Raises:
      InputError: all checkpoints are damaged (or that of `step`, or with `strict` the newest), or
        the checkpoint holds something else.
    """
    self.skipped = []
    steps = self._steps() if step is None else {step}
    for candidate in sorted(steps, reverse=True):
      path = self.path(candidate)
      try:
        self._restore(path, partial=partial, require=require)
        return candidate
      except _DAMAGE as error:
        self.skipped.append(Skipped(path, self._reason(candidate, error)))
        if strict or step is not None:
          break
    if self.skipped:
      path, reason = self.skipped[0]
      message = f"expected a whole checkpoint, received a damaged one ({reason})"
      if strict and len(steps) > 1:
        message += "; a call without strict continues from an earlier one"
      raise settings.InputError(path, message)
    return 0

  def path(self, step: int) -> str:
    """Returns the path of the checkpoint of a step, without the suffixes of its files."""
    return str(model_dir_lib.ModelDir.checkpoint_path(self.folder, step))

  def _restore(self, path, *, partial, require):
    names = [name for name, _ in tf.train.list_variables(path)]
    if require:
      require(path, names)
    content = self._content
    try:
      if not isinstance(content, tf.train.Checkpoint):
        content = content.checkpoint(names)
      status = content.restore(path)
      if partial:
        status.assert_existing_objects_matched()
      else:
        status.assert_consumed()
      status.expect_partial()  # Otherwise each part that is left out is warned of at exit.
    except (tf.errors.InvalidArgumentError, AssertionError, ValueError) as error:
      if isinstance(error, UnicodeDecodeError):
        raise
      message = (
        f"expected a checkpoint of this model, received another one ({settings.first_line(error)})"
      )
      raise settings.InputError(path, message) from None
    if not isinstance(self._content, tf.train.Checkpoint):
      self._content.complete(names)

  def _reason(self, step, error):
    present = {path.suffix for path in self._files(step)}
    if ".index" not in present or len(present) < 2:
      return "some of its files are missing"
    return settings.first_line(error)

  def _write(self, content: tf.train.Checkpoint, step: int) -> None:
    """Writes a checkpoint to the disk, reads it back, and deletes those that are not kept."""
    target = pathlib.Path(self.path(step))
    try:
      self.folder.mkdir(parents=True, exist_ok=True)
      with files.workspace(self.folder) as temporary:
        assert content.save_counter is not None  # This makes it. Earlier versions expect it.
        written = content.write(str(temporary / target.name))
        _require_readable(written)
        # The index comes last: without it, a checkpoint does not count.
        for suffix in (_DATA, ".index"):
          files.move_to_disk(pathlib.Path(written + suffix), target.with_name(target.name + suffix))
      steps = sorted(self._whole_steps())
      older = [other for other in steps if other < step]
      deleted = [] if self._keep is None else older[: max(0, len(older) + 1 - self._keep)]
      if self._keep_every:
        deleted = [other for other in deleted if other % self._keep_every]
      self._write_list([other for other in steps if other not in deleted])
      for other in deleted:
        self._delete(other)
    except (tf.errors.OpError, OSError) as error:
      message = f"expected a folder that can be written, received {self.folder}"
      raise SaveError(
        f"checkpoint of step {step}", f"{message} ({files.reason_of(error)})"
      ) from None

  def _write_list(self, steps: Sequence[int]) -> None:
    """Writes TensorFlow's list, which `tf.train.latest_checkpoint` reads."""
    if not steps:
      (self.folder / _LIST).unlink(missing_ok=True)
      return
    names = [pathlib.Path(self.path(step)).name for step in steps]
    state = tf.compat.v1.train.generate_checkpoint_state_proto(
      str(self.folder), names[-1], all_model_checkpoint_paths=names
    )
    text = text_format.MessageToString(state)
    files.write_text(self.folder / _LIST, text, sole_writer=True)

  def _delete(self, step: int) -> None:
    # The index first: a checkpoint without it does not count.
    for path in sorted(self._files(step), key=lambda path: path.suffix != ".index"):
      path.unlink(missing_ok=True)

  def _files(self, step: int) -> list[pathlib.Path]:
    name = pathlib.Path(self.path(step)).name
    return [path for path in self.folder.glob(f"{name}.*") if path.is_file()]

  def _whole_steps(self) -> set[int]:
    """Returns the steps of the checkpoints all of whose files are there."""
    steps = model_dir_lib.ModelDir.checkpoint_steps(self.folder)
    return {
      step for step in steps if any(self.folder.glob(f"{model_dir_lib.CHECKPOINT}-{step}.data-*"))
    }

  def _steps(self) -> set[int]:
    """Returns the steps of all checkpoints, also of those that lack files.

    TensorFlow's list may be older than the files, since a killed process writes it last; and files
    that it names may be gone. Data that has no index and is not in the list is none of them: a
    process was killed while it moved the files to their place, or while it deleted them.
    """
    steps = model_dir_lib.ModelDir.checkpoint_steps(self.folder)
    with contextlib.suppress(ValueError, OSError, text_format.ParseError, tf.errors.OpError):
      state = tf.train.get_checkpoint_state(str(self.folder))
      if state:
        steps |= {model_dir_lib.step_of(name) for name in state.all_model_checkpoint_paths}
    return steps


def _require_readable(path: str) -> None:
  """Reads a checkpoint, which compares its checksums, and requires that its numbers are finite.

  Raises:
    SaveError: a number is not finite.
    tf.errors.OpError: the files are not what was written.
  """
  reader = tf.train.load_checkpoint(path)
  for name in reader.get_variable_to_shape_map():
    value = np.asarray(reader.get_tensor(name))
    if value.dtype.kind == "f" and not np.all(np.isfinite(value)):
      raise SaveError(
        pathlib.Path(path).name, f"expected finite numbers, received others in {name}"
      )


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
  network: keras.Model,
  folder: str | os.PathLike[str],
  ema: float,
  *,
  step: int | None = None,
  progress: progress_lib.Progress | None = None,
) -> int:
  """Restores the weights of a built network.

  Args:
    network: the network.
    folder: a folder of checkpoints.
    ema: the rate of the moving averages to use as weights; 0 for the raw weights.
    step: the step of the checkpoint. None restores the newest that is not damaged.
    progress: where notes about damaged checkpoints go.

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
  restored = checkpoints.restore(
    partial=True, step=step, require=functools.partial(_require_rate, ema=ema)
  )
  if step is None and not restored and checkpoints.newest() is None:
    message = f"expected a model with a checkpoint, received {folder}, which holds none"
    raise settings.InputError("model_dir", message)
  if progress:
    say_skipped(checkpoints, restored, progress)
  return restored


def say_skipped(checkpoints: Checkpoints, restored: int, progress: progress_lib.Progress) -> None:
  """Says which damaged checkpoints were skipped."""
  for path, reason in checkpoints.skipped:
    progress.say(f"note: {path} is damaged ({reason}); continuing from step {restored}")


def _require_rate(path: str, names: Collection[str], *, ema: float) -> None:
  """Checks that a checkpoint holds a rate, which may have been added to the run later."""
  rates = average_rates(names)
  if ema and rates and ema not in rates:
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
