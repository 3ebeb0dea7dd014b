"""The worker processes, as the measuring process sees them."""

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

from benchmarks.speed_comparison import contestants

_ROOT = pathlib.Path(__file__).parents[2]


class WorkerError(Exception):
  """A contestant cannot be measured; the text says why in one line."""


class Process:
  """A worker process; see `worker`. It ends with the `with` block.

  Attributes:
    name: the name of its contestant.
  """

  def __init__(self, work: contestants.Work, folder: pathlib.Path):
    """Starts the process.

    Args:
      work: what it does.
      folder: a folder for its log, and for what `torch.compile` makes, which it does not find in
        advance.
    """
    self.name = work.contestant.name
    self._log = folder / f"{self.name}.log"
    environment = {
      "CUDA_VISIBLE_DEVICES": "",
      "OMP_NUM_THREADS": str(work.threads),
      "TORCHINDUCTOR_CACHE_DIR": str(folder / f"{self.name}_compiled"),
      "TORCHINDUCTOR_COMPILE_THREADS": str(work.threads),
    }
    with self._log.open("ab") as log:
      self._process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.speed_comparison.worker", json.dumps(work.to_json())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        cwd=_ROOT,
        env=os.environ | environment,
      )

  def __enter__(self) -> "Process":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def ask(self, do: str, **values: Any) -> dict[str, Any]:
    """Returns the answer to a request.

    Raises:
      WorkerError: the worker has failed or ended.
    """
    assert self._process.stdin and self._process.stdout
    try:
      print(json.dumps({"do": do, **values}), file=self._process.stdin, flush=True)
      line = self._process.stdout.readline()
    except BrokenPipeError:
      line = ""
    if not line:
      raise WorkerError(
        f"its process ended with status {self._process.wait()}: {self._last_line()}"
      )
    answer = json.loads(line)
    if "error" in answer:
      raise WorkerError(answer["error"])
    return answer

  def close(self) -> None:
    """Ends the process."""
    self._process.kill()
    self._process.communicate()

  def _last_line(self):
    lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it has said nothing")
