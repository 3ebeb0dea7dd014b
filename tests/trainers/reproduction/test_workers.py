"""Processes that do tasks: their logs, shares, ends; and a whole run that is killed."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from iddpm_tf.utils import host
from trainers.reproduction import tasks as tasks_lib
from trainers.reproduction import workers as workers_lib

ROOT = pathlib.Path(__file__).parents[3]
TINY = (
  "--image_size=4",
  "--channel_multipliers=1",
  "--attention_resolutions=",
  "--batch_size=8",
  "--num_samples=4",
  "--samplers=ancestral:3",
)
# A run of its own, of two tasks that take long enough to be killed, in two workers.
PROGRAM = """
import pathlib, sys, types

if __name__ == "__main__":
  from trainers.reproduction import run as reproducing
  from trainers.reproduction import scales, tasks, workers

  runs = [tasks.Run(f"long_seed{seed}", "configs/photos_small.flags", (*%r, f"--seed={seed}"), 100_000)
          for seed in (0, 1)]
  output = pathlib.Path(sys.argv[1])
  sys.exit(reproducing.run(["long"], scales.SCALES["small"], output, make_hands=lambda tasks: workers.Workers(2, output),
                           modules={"long": types.SimpleNamespace(needs=lambda scale: runs)}))
""" % (TINY,)


@pytest.fixture(autouse=True)
def fixture_root(monkeypatch):
  """Flagfiles are relative to the working folder."""
  monkeypatch.chdir(ROOT)


def test_two_tasks_at_once_each_with_a_log(tmp_path, capfd):
  good = tasks_lib.Run("good_seed0", "configs/photos_small.flags", TINY, 2)
  bad = good._replace(name="bad_seed0", flags=(*TINY, "--learning_rate=-1"))
  with workers_lib.Workers(2, tmp_path) as hands:
    for task, more in (
      (good, ["--help"]),
      (bad, []),
    ):  # Nothing is trained, which the next test but one does.
      hands.start(task, [*task.arguments(tmp_path), *more])
    ended = dict(hands.wait() for _ in range(2))
  assert ended == {good: 0, bad: 2}
  assert "Trains a diffusion model" in (tmp_path / "logs/good_seed0.log").read_text()
  out, err = capfd.readouterr()
  assert not out
  (line,) = err.splitlines()
  assert line.startswith("bad_seed0: train: --learning_rate") and "logs/bad_seed0.log" in line
  assert not any(process.is_alive() for process in hands._processes.values())


def test_a_worker_that_is_killed_is_said(tmp_path, capfd):
  task = tasks_lib.Run("small_seed0", "configs/photos_small.flags", TINY, 100_000)
  with workers_lib.Workers(1, tmp_path) as hands:
    hands.start(task, task.arguments(tmp_path))
    os.kill(next(iter(hands._processes.values())).pid, signal.SIGKILL)
    assert hands.wait() == (task, 137)
  assert "small_seed0: killed, perhaps for want of memory" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_with_the_process_its_workers_end(tmp_path, number, request):
  """Whatever the signal; asked to stop, they save first. Nothing trains on in the folder."""
  (tmp_path / "program.py").write_text(PROGRAM)
  process = subprocess.Popen(
    [sys.executable, tmp_path / "program.py", tmp_path],
    stdout=subprocess.PIPE,
    text=True,
    env=os.environ | {"PYTHONPATH": str(ROOT)},
  )
  request.addfinalizer(process.kill)
  logs = [tmp_path / f"logs/long_seed{seed}.log" for seed in (0, 1)]
  deadline = time.monotonic() + 120
  while not all(log.exists() and "step/s" in log.read_text() for log in logs):
    assert process.poll() is None and time.monotonic() < deadline
    time.sleep(0.1)
  workers = _children(process.pid)
  assert len(workers) == 2
  process.send_signal(number)
  said, _ = process.communicate(timeout=60)
  assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
  deadline = time.monotonic() + 10
  while any(os.path.exists(f"/proc/{pid}") for pid in workers):
    assert time.monotonic() < deadline
    time.sleep(0.1)
  if number != signal.SIGKILL:
    assert "stopped; the same command goes on" in said
    assert all("and saved at step" in log.read_text() for log in logs)


def _children(pid):
  """Processes that Python started as workers; not its resource tracker."""
  found = subprocess.run(
    ["ps", "-ww", "--ppid", str(pid), "-o", "pid=,args="],
    capture_output=True,
    text=True,
    check=True,
  )
  return [int(line.split()[0]) for line in found.stdout.splitlines() if "spawn_main" in line]


@pytest.mark.parametrize("memory, expected", [(0, 1), (2**30, 1), (5 * 2**30, 2), (2**50, 8)])
def test_workers_fit_cores_and_memory(monkeypatch, memory, expected):
  monkeypatch.setattr(host, "cores", lambda: 8)
  monkeypatch.setattr(host, "memory", lambda: (0, memory))
  assert workers_lib.fitting() == expected


def test_this_process_does_a_task_at_a_time():
  calls = []
  hands = workers_lib.Here(lambda *call: calls.append(call) or 3)
  task = tasks_lib.Run("small_seed0", "configs/photos_small.flags", (), 2)
  with hands:
    hands.start(task, ("--a",))
    assert hands.wait() == (task, 3) and calls == [("train", ("--a",))]
