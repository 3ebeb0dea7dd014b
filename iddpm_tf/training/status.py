"""Tells schedulers how a training goes: `status.json` in the model folder."""

import contextlib
import datetime
import os
import pathlib
import socket
import threading
import time
from typing import Any

from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.training import state as state_lib
from iddpm_tf.utils import files


class Status:
  """Keeps `status.json` up to date.

  Its keys are `state` (running, stopped, finished or failed), `step`, `train_steps`,
  `images_per_second`, `seconds_left`, `checkpoint` and `checkpoint_time` (the path and the time of
  the last one), `skipped_steps`, `restarts`, `fault` (`step` and `reason` of what was wrong last),
  `host`, `pid` and `time`. Values that are not known yet are null.
  """

  def __init__(
    self, folder: model_dir_lib.ModelDir, state: state_lib.TrainState, checkpoint: str | None
  ):
    """Begins; the file is written by the first `update`.

    Args:
      folder: the model folder.
      state: the state of the training, as it is restored.
      checkpoint: the path of the newest checkpoint, or None.
    """
    step, train_steps = int(state.step.numpy()), state.config.training.train_steps
    self._path, self._lock = folder.status, threading.Lock()
    self._started_at, self._start = step, time.monotonic()
    self._values: dict[str, Any] = {
      "state": "running",
      "step": step,
      "train_steps": train_steps,
      "images_per_second": None,
      "seconds_left": None,
      "checkpoint": checkpoint and pathlib.Path(checkpoint).name,
      "checkpoint_time": None,
      "skipped_steps": 0,
      "restarts": int(state.guard.restarts.numpy()),
      "fault": None,
      "host": socket.gethostname(),
      "pid": os.getpid(),
    }

  def note_end(self) -> None:
    """Corrects the file of a run that was killed between its last checkpoint and its end."""
    if self._path.exists():
      with contextlib.suppress(OSError, ValueError, AttributeError):
        content = files.read_json(self._path)
        if content.get("state") == "running":
          self.update(state="finished")

  def saved(self, checkpoint: str) -> None:
    """Notes a checkpoint that is on the disk."""
    self.update(checkpoint=pathlib.Path(checkpoint).name, checkpoint_time=_now())

  def update(self, **values: Any) -> None:
    """Sets some values and writes the file, from any thread. A failed write is ignored."""
    with self._lock:
      self._values |= values
      done = self._values["step"] - self._started_at
      if done > 0:
        seconds = (time.monotonic() - self._start) / done
        left = self._values["train_steps"] - self._values["step"]
        self._values["seconds_left"] = round(seconds * left, 1)
      with contextlib.suppress(OSError):  # A full disk: the training itself says so.
        content = {**self._values, "time": _now()}
        files.write_json(self._path, content, indent=1, sole_writer=True)


def _now() -> str:
  return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
