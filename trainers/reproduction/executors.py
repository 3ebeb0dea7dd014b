"""Executors of tasks: in this process, or in a pool of worker processes."""

import abc
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import gc
import importlib
import multiprocessing
from multiprocessing import connection as connection_lib
from multiprocessing import process as process_lib
import os
import pathlib
import re
import signal
import sys
import threading
import traceback
from types import TracebackType

import tqdm

from iddpm_tf.utils import host
from trainers.reproduction import tasks as tasks_lib

# Runs a command, given its name and its arguments, and returns its exit status.
Runner = Callable[[str, Sequence[str]], int]

LOGS = "logs"
# Bytes of memory for one task of the small scale, which takes 1.5 GB.
_TASK_MEMORY = 2 * 2**30
_STOP_SECONDS = 120  # Enough for a training step and a checkpoint.
_ERROR = 1  # The exit status of Python after an exception.
_KILLED = 128 + signal.SIGKILL  # The exit status of a killed process, as shells report it.

# What tells libraries, when they are loaded, how many threads to start. If all workers have more
# threads than there are cores, the threads wait for each other.
_THREADS = (
  "OPENBLAS_NUM_THREADS",
  "OMP_NUM_THREADS",
  "MKL_NUM_THREADS",
  "TF_NUM_INTRAOP_THREADS",
  "TF_NUM_INTEROP_THREADS",
)


def run_command(name: str, arguments: Sequence[str]) -> int:
  """Runs `python -m trainers.NAME` in this process, and returns its exit status."""
  module = importlib.import_module(f"trainers.{name}")
  status = module.COMMAND.run([name, *arguments])
  _clear_session()
  return status


def default_workers() -> int:
  """Returns the number of workers for which this machine has cores and memory."""
  _, memory = host.memory()
  return max(1, min(host.cores(), memory // _TASK_MEMORY if memory else 1))


class Executor(abc.ABC):
  """What runs tasks. It is used in a `with` block.

  Attributes:
    count: the number of tasks that run at once.
  """

  count: int

  @abc.abstractmethod
  def start(self, task: tasks_lib.Task, arguments: Sequence[str]) -> None:
    """Starts a task's command with these arguments. At most `count` tasks may be running."""

  @abc.abstractmethod
  def wait(self) -> tuple[tasks_lib.Task, int]:
    """Waits for a task to end, and returns it with its exit status."""

  def __enter__(self) -> "Executor":
    return self

  @abc.abstractmethod
  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    """Stops the tasks that are running."""


class InProcess(Executor):
  """Runs one task at a time in this process, with all devices and with the commands' output."""

  count = 1

  def __init__(self, runner: Runner = run_command):
    """Makes the executor, with what runs a command."""
    self._runner = runner
    self._ended: tuple[tasks_lib.Task, int] | None = None

  def start(self, task: tasks_lib.Task, arguments: Sequence[str]) -> None:
    """Runs the task to its end."""
    self._ended = task, self._runner(task.command, arguments)

  def wait(self) -> tuple[tasks_lib.Task, int]:
    """Returns the task that was run."""
    assert self._ended is not None
    return self._ended

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    pass


class ProcessPool(Executor):
  """Runs tasks in worker processes, each with an equal share of the cores and without GPUs.

  The small networks gain little from a second core, so several tasks at once are faster than one
  task on all cores. The output of a task's command goes to `logs/NAME.log`.

  The workers have their own sessions, so that Ctrl-C reaches only the process that owns them. When
  that process is asked to stop, the workers save a checkpoint and end. When it is killed, they end
  at once.
  """

  def __init__(self, count: int, output: pathlib.Path, runner: Runner = run_command):
    """Makes the executor. The workers start with the `with` block.

    Args:
      count: the number of workers.
      output: the output folder, which gets the logs.
      runner: what runs a command, which each worker imports by its name.
    """
    self.count, self._logs, self._runner = count, output / LOGS, runner
    # Each worker is known by this process's end of the connection to it.
    self._processes: dict[connection_lib.Connection, process_lib.BaseProcess] = {}
    self._idle: list[connection_lib.Connection] = []
    self._busy: dict[connection_lib.Connection, tasks_lib.Task] = {}

  def start(self, task: tasks_lib.Task, arguments: Sequence[str]) -> None:
    """Sends a task to an idle worker."""
    worker = self._idle.pop()
    self._busy[worker] = task
    self._logs.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(ConnectionError):  # The worker was killed, which `wait` reports.
      worker.send((task.command, arguments, str(self._log(task))))

  def wait(self) -> tuple[tasks_lib.Task, int]:
    """Waits for a task to end, and reports it on the error stream if it failed."""
    worker = connection_lib.wait(list(self._busy))[0]
    assert isinstance(worker, connection_lib.Connection)
    task = self._busy.pop(worker)
    try:
      status = worker.recv()
      self._idle.append(worker)
    except (EOFError, ConnectionError):
      status = _KILLED
    if status:
      reason = "killed, perhaps because memory ran out" if status == _KILLED else self._last(task)
      print(f"{task.name}: {reason} (its log: {self._log(task)})", file=sys.stderr)
    return task, status

  def __enter__(self) -> "ProcessPool":
    context = multiprocessing.get_context("spawn")
    threads = str(max(1, host.cores() // self.count))
    variables = dict.fromkeys(_THREADS, threads)
    # A worker imports NumPy before it could change its own environment.
    with _environment(variables | {"CUDA_VISIBLE_DEVICES": ""}):
      for _ in range(self.count):
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._runner), daemon=True)
        process.start()
        theirs.close()
        self._processes[ours] = process
        self._idle.append(ours)
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    for worker in self._idle:
      with contextlib.suppress(ConnectionError):
        worker.send(None)
    for worker, process in self._processes.items():
      if worker in self._busy:
        process.terminate()
      worker.close()
    for process in self._processes.values():
      process.join(_STOP_SECONDS)
      process.kill()  # No effect on a process that has ended.

  def _log(self, task: tasks_lib.Task) -> pathlib.Path:
    return self._logs / f"{task.name}.log"

  def _last(self, task: tasks_lib.Task) -> str:
    """Returns the last line of a task's log."""
    log = self._log(task)
    text = log.read_text(errors="replace").rstrip() if log.exists() else ""
    return re.split("[\r\n]", text)[-1]


def make(count: int, output: pathlib.Path) -> Executor:
  """Returns an executor of `count` tasks at once."""
  return ProcessPool(count, output) if count > 1 else InProcess()


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
  """Sets environment variables for the processes that are started in the block."""
  before = {name: os.environ.get(name) for name in variables}
  os.environ |= variables
  try:
    yield
  finally:
    for name, value in before.items():
      if value is None:
        del os.environ[name]
      else:
        os.environ[name] = value


def _serve(orders: connection_lib.Connection, runner: Runner) -> None:
  """Runs the commands that the parent process sends, until it sends None."""
  os.setsid()
  threading.Thread(target=_exit_with_parent, daemon=True).start()
  # By default progress bars share a lock between processes, which `os._exit` would leave behind.
  tqdm.tqdm.set_lock(threading.RLock())
  try:
    while order := orders.recv():
      name, arguments, log = order
      orders.send(_run_with_log(runner, name, arguments, log))
  except (EOFError, ConnectionError):
    pass
  # All files are written. Python's own exit would take minutes to free what TensorFlow allocated.
  os._exit(0)


def _run_with_log(runner: Runner, name: str, arguments: Sequence[str], log: str) -> int:
  """Runs a command whose output, and that of libraries in C, goes to a file."""
  with open(log, "ab") as file:
    for stream in (sys.stdout, sys.stderr):
      stream.flush()
      os.dup2(file.fileno(), stream.fileno())
  try:
    status = runner(name, arguments)
  except Exception:
    traceback.print_exc()
    status = _ERROR
  sys.stdout.flush()
  sys.stderr.flush()
  return status


def _exit_with_parent() -> None:
  """Ends this process when its parent is gone, before another run uses the same folder.

  Nothing is lost, because files are written whole.
  """
  parent = multiprocessing.parent_process()
  assert parent is not None
  parent.join()
  os._exit(_ERROR)


def _clear_session() -> None:
  """Frees the networks of a task. Those of dozens of tasks would fill the memory."""
  if "keras" in sys.modules:
    sys.modules["keras"].utils.clear_session()
    gc.collect()
