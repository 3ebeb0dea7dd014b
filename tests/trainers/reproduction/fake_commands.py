"""Commands for tests of executors, which run in worker processes without TensorFlow."""

from collections.abc import Sequence
import os
import time

from iddpm_tf.utils import progress
from trainers.cli import signals


def run(name: str, arguments: Sequence[str]) -> int:
  """Prints a line as a library in C does, and the command as Python does."""
  os.write(1, b"from C\n")
  print(name, *arguments, flush=True)
  if "--crash" in arguments:
    raise RuntimeError("crashed")
  return 2 if "--wrong" in arguments else 0


def run_until_stopped(name: str, arguments: Sequence[str]) -> int:
  """Runs until it is asked to stop, and then takes a moment to save, as a training does."""
  del name, arguments  # Not used.
  try:
    with signals.raised(), progress.Console().bar(total=1, unit="step"):
      print("running", flush=True)
      time.sleep(600)
  except signals.Stopped as stopped:
    time.sleep(0.3)
    print("saved", flush=True)
    return stopped.status
  return 0


def print_threads(name: str, arguments: Sequence[str]) -> int:
  """Prints the threads of the libraries of linear algebra, and what other libraries would take."""
  del name, arguments  # Not used.
  import scipy.linalg  # noqa: F401
  import threadpoolctl

  for library in threadpoolctl.threadpool_info():
    print("NumPy and SciPy", library["num_threads"])
  for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
    print(variable, os.environ[variable])
  return 0
