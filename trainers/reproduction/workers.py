"""Who does tasks: this process, or several beside it."""

import contextlib
import importlib
import multiprocessing
from multiprocessing import connection as connection_lib
import os
import pathlib
import re
import signal
import sys
import threading
import traceback

from iddpm_tf.utils import host
from trainers.cli import command

LOGS = "logs"
MODULES = {"train": "trainers.train", "evaluate": "trainers.evaluate", "sample": "trainers.sample"}
_MEMORY = 2 * 2**30  # Bytes that a task of the small scale may take: it takes 1.5 GB.
_PATIENCE = 120  # Seconds for a step and its checkpoint.
_ERROR = 1  # The status of Python itself.
_KILLED = 128 + signal.SIGKILL


def run_command(name, arguments):
  """`python -m trainers.NAME` in this process; its status."""
  module = importlib.import_module(MODULES[name])
  status = command.run(module.main, module.Options, module.__doc__, [name, *arguments])
  _forget_graphs()
  return status


def fitting():
  """So many `Workers` as there are cores, and memory for them."""
  _, memory = host.memory()
  return max(1, min(host.cores(), memory // _MEMORY if memory else 1))


def hands(count, output):
  """Of so many tasks at once."""
  return Workers(count, output) if count > 1 else Here()


class Here:
  """This process: a task at a time, with all devices, and what commands print is seen."""

  count = 1

  def __init__(self, runner=run_command):
    """Makes it; `runner(command's name, arguments)` returns a status."""
    self._runner, self._finished = runner, None

  def start(self, task, arguments):
    """Does it."""
    self._finished = task, self._runner(task.command, arguments)

  def wait(self):
    """A task that has ended, and its status."""
    return self._finished

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass


class Workers:
  """Processes, each with its share of the cores and without GPUs: small networks gain little from a second core.

  What their commands print is in logs/NAME.log. They are in a session of their own, so that Ctrl-C reaches the
  process that has them alone. It ends, and they do: at once if it was killed; with a checkpoint if it was asked to stop.
  """

  def __init__(self, count, output):
    """Makes `count` of them, with logs in the folder `output`."""
    self.count, self._logs = count, pathlib.Path(output) / LOGS
    self._processes, self._idle, self._busy = (
      {},
      [],
      {},
    )  # Of processes and tasks, by their connections.

  def start(self, task, arguments):
    """Begins it."""
    worker = self._idle.pop()
    self._busy[worker] = task
    self._logs.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(ConnectionError):  # Of one that was killed, which `wait` says.
      worker.send((task.command, arguments, str(self._log(task))))

  def wait(self):
    """A task that has ended, and its status; what went wrong is said."""
    worker = connection_lib.wait(list(self._busy))[0]
    task = self._busy.pop(worker)
    try:
      status = worker.recv()
      self._idle.append(worker)
    except (EOFError, ConnectionError):
      status = _KILLED
    if status:
      said = (
        self._log(task).read_text(errors="replace").rstrip() if self._log(task).exists() else ""
      )
      last = (
        "killed, perhaps for want of memory" if status == _KILLED else re.split("[\r\n]", said)[-1]
      )
      print(f"{task.name}: {last} ({self._log(task)} has all it said)", file=sys.stderr)
    return task, status

  def __enter__(self):
    context = multiprocessing.get_context("spawn")
    for _ in range(self.count):
      ours, theirs = context.Pipe()
      process = context.Process(
        target=_work, args=(theirs, max(1, host.cores() // self.count)), daemon=True
      )
      process.start()
      theirs.close()
      self._processes[ours] = process
      self._idle.append(ours)
    return self

  def __exit__(self, *_):
    for worker in self._idle:
      with contextlib.suppress(ConnectionError):
        worker.send(None)
    for worker, process in self._processes.items():
      if worker in self._busy:
        process.terminate()
      worker.close()
    for process in self._processes.values():
      process.join(_PATIENCE)
      process.kill()  # Where it has not ended by then.

  def _log(self, task):
    return self._logs / f"{task.name}.log"


def _work(tasks, threads):
  """The life of a worker."""
  os.setsid()
  threading.Thread(target=_die_with_parent, daemon=True).start()
  os.environ |= {
    "CUDA_VISIBLE_DEVICES": "",
    "TF_NUM_INTRAOP_THREADS": str(threads),
    "TF_NUM_INTEROP_THREADS": str(threads),
  }
  command.load_tensorflow()
  try:
    while order := tasks.recv():
      name, arguments, log = order
      tasks.send(_logged(name, arguments, log))
  except (EOFError, ConnectionError):
    pass
  # Everything is written. Python's own end would take minutes for what TensorFlow leaves of hours of tasks.
  os._exit(0)  # pylint: disable=protected-access


def _logged(name, arguments, log):
  """The status of a command whose every line, of libraries in C too, goes to a file."""
  with open(log, "ab") as file:
    for stream in (sys.stdout, sys.stderr):
      stream.flush()
      os.dup2(file.fileno(), stream.fileno())
  try:
    status = run_command(name, arguments)
  except Exception:  # pylint: disable=broad-except
    traceback.print_exc()
    status = _ERROR
  sys.stdout.flush()
  sys.stderr.flush()
  return status


def _die_with_parent():
  """Two runs in one folder would be at odds; everything that matters is written whole or not at all."""
  multiprocessing.parent_process().join()
  os._exit(_ERROR)  # pylint: disable=protected-access


def _forget_graphs():
  """Of the networks of the task: dozens of them would fill the memory."""
  import gc

  import keras

  keras.utils.clear_session()
  gc.collect()
