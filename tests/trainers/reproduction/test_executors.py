"""Executors: logs, exit statuses, and the ends of worker processes."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from iddpm_tf.utils import host
from tests.trainers.reproduction import fake_commands
from trainers.reproduction import executors
from trainers.reproduction import tasks

ROOT = pathlib.Path(__file__).parents[3]
TASK = tasks.TrainingTask("small_seed0", "configs/photos_small.flags", (), 2)
BAD = tasks.TrainingTask("bad_seed0", "configs/photos_small.flags", (), 2)
# An experiment with two endless tasks, in two workers.
PROGRAM = """
import pathlib
import sys

if __name__ == "__main__":
  from tests.trainers.reproduction import fake_commands
  from trainers.reproduction import executors, run, scales, tasks
  from trainers.reproduction.experiments import base

  class Long(base.Experiment):
    def needs(self, scale):
      return [tasks.TrainingTask(f"long_seed{seed}", "", (), 2) for seed in (0, 1)]

    def show(self, scale, output):
      raise NotImplementedError

  output = pathlib.Path(sys.argv[1])
  make = lambda _: executors.ProcessPool(2, output, fake_commands.run_until_stopped)
  small = scales.SCALES["small"]
  sys.exit(run.run(["long"], small, output, make_executor=make, experiments={"long": Long()}))
"""


@pytest.mark.parametrize("wrong, status", [("--wrong", 2), ("--crash", 1)])
def test_two_tasks_at_once_each_with_a_log(wrong, status, tmp_path, capfd):
  with executors.ProcessPool(2, tmp_path, fake_commands.run) as executor:
    executor.start(TASK, ["--a=1"])
    executor.start(BAD, [wrong])
    ended = dict(executor.wait() for _ in range(2))
    # A worker whose command failed takes another task.
    executor.start(TASK, ["--b=2"])
    assert executor.wait() == (TASK, 0)
  assert ended == {TASK: 0, BAD: status}
  log = (tmp_path / "logs/small_seed0.log").read_text()
  assert sorted(log.splitlines()) == ["from C", "from C", "train --a=1", "train --b=2"]
  out, err = capfd.readouterr()
  assert not out
  (line,) = err.splitlines()
  reason = {2: "train --wrong", 1: "RuntimeError: crashed"}[status]
  assert line == f"bad_seed0: {reason} (its log: {tmp_path / 'logs/bad_seed0.log'})"
  assert not any(process.is_alive() for process in executor._processes.values())


def test_workers_share_the_cores_in_linear_algebra_too(tmp_path, monkeypatch):
  monkeypatch.setattr(host, "cores", lambda: 2)
  monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
  monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
  before = dict(os.environ)
  with executors.ProcessPool(2, tmp_path, fake_commands.print_threads) as executor:
    assert dict(os.environ) == before
    executor.start(TASK, [])
    assert executor.wait() == (TASK, 0)
  lines = (tmp_path / "logs/small_seed0.log").read_text().splitlines()
  assert {line.rpartition(" ")[2] for line in lines} == {"1"}
  assert lines[0].startswith("NumPy and SciPy")


def test_a_worker_that_is_killed_is_reported(tmp_path, capfd):
  with executors.ProcessPool(1, tmp_path, fake_commands.run_until_stopped) as executor:
    executor.start(TASK, [])
    os.kill(next(iter(executor._processes.values())).pid, signal.SIGKILL)
    assert executor.wait() == (TASK, 137)
  assert "small_seed0: killed, perhaps because memory ran out" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_process(tmp_path, number, request):
  """After a request to stop they save first. No worker stays in the folder."""
  (tmp_path / "program.py").write_text(PROGRAM)
  process = subprocess.Popen(
    [sys.executable, tmp_path / "program.py", tmp_path / "output"],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env=os.environ | {"PYTHONPATH": str(ROOT)},
  )
  request.addfinalizer(process.kill)
  logs = [tmp_path / f"output/logs/long_seed{seed}.log" for seed in (0, 1)]
  deadline = time.monotonic() + 120
  while not all(log.exists() and "running" in log.read_text() for log in logs):
    assert process.poll() is None and time.monotonic() < deadline
    time.sleep(0.1)
  workers = _workers_of(process.pid)
  assert len(workers) == 2
  process.send_signal(number)
  output, _ = process.communicate(timeout=60)
  assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
  deadline = time.monotonic() + 10
  while any(os.path.exists(f"/proc/{pid}") for pid in workers):
    assert time.monotonic() < deadline
    time.sleep(0.1)
  if number != signal.SIGKILL:
    assert "stopped; run the same command to continue" in output
    assert all("saved" in log.read_text() for log in logs)
    assert "leaked" not in output  # The lock of progress bars.


def _workers_of(pid):
  """Processes that Python started as workers, without its resource tracker."""
  listing = subprocess.run(
    ["ps", "-ww", "--ppid", str(pid), "-o", "pid=,args="],
    capture_output=True,
    text=True,
    check=True,
  )
  lines = listing.stdout.splitlines()
  return [int(line.split()[0]) for line in lines if "spawn_main" in line]


@pytest.mark.parametrize("memory, expected", [(0, 1), (2**30, 1), (5 * 2**30, 2), (2**50, 8)])
def test_the_default_number_of_workers_fits_cores_and_memory(monkeypatch, memory, expected):
  monkeypatch.setattr(host, "cores", lambda: 8)
  monkeypatch.setattr(host, "memory", lambda: (0, memory))
  assert executors.default_workers() == expected


def test_one_task_at_a_time_runs_in_this_process(tmp_path):
  calls = []
  executor = executors.InProcess(lambda *call: calls.append(call) or 3)
  with executor:
    executor.start(TASK, ("--a",))
    assert executor.wait() == (TASK, 3) and calls == [("train", ("--a",))]
  assert isinstance(executors.make(1, tmp_path), executors.InProcess)
  assert executors.make(3, tmp_path).count == 3
