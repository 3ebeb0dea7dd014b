"""What a running training says to schedulers: `status.json` in the model folder."""

import contextlib
import datetime
import os
import pathlib
import socket
import threading
import time
from typing import Any

from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.utils import files


class Status:
  """Keeps `status.json` up to date.

  Its keys are `state` (running, stopped, finished or failed), `step`, `train_steps`,
  `images_per_second`, `seconds_left`, `checkpoint` and `checkpoint_time` (the path and the time of
  the last one), `skipped_steps`, `restarts`, `fault` (what was wrong last), `host`, `pid` and
  `time`. Values that are not known yet are null.
  """

  def __init__(self, folder: model_dir_lib.ModelDir, *, step: int, train_steps: int):
    """Begins; the file is written by the first `update`."""
    self._path, self._lock = folder.status, threading.Lock()
    self._started_at, self._start = step, time.monotonic()
    self._values: dict[str, Any] = {
      "state": "running",
      "step": step,
      "train_steps": train_steps,
      "images_per_second": None,
      "seconds_left": None,
      "checkpoint": None,
      "checkpoint_time": None,
      "skipped_steps": 0,
      "restarts": 0,
      "fault": None,
      "host": socket.gethostname(),
      "pid": os.getpid(),
    }

  def saved(self, checkpoint: str) -> None:
    """Notes a checkpoint that is on the disk."""
    self.update(checkpoint=pathlib.Path(checkpoint).name, checkpoint_time=_now())

  def update(self, **values: Any) -> None:
    """Sets some values and writes the file, from any thread. What cannot be written is not."""
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
