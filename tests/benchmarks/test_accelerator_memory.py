"""The table of measured memory."""

import json
import subprocess
import sys

import pytest

from benchmarks import accelerator_memory
from benchmarks import memory_table


@pytest.fixture(name="run")
def fixture_run(monkeypatch, capsys):
  """Runs the command, whose measurements end as given, and returns its rows."""

  def run(returncode, stdout, stderr=""):
    questions = []

    def measure(command, **_):
      questions.append(json.loads(command[-1].removeprefix("--measure=")))
      return subprocess.CompletedProcess(command, returncode, stdout, stderr)

    memory = memory_table.Memory(1000, 64, 2**31, {"float32": 2**28})
    monkeypatch.setattr(memory_table, "memory_of", lambda name: memory)
    monkeypatch.setattr(subprocess, "run", measure)
    flags = ["--flagfiles=cifar10", "--ways=float32", "--microbatches=1,2"]
    # The command sets them where they are unset.
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    monkeypatch.setattr(sys, "argv", ["accelerator_memory", *flags])
    accelerator_memory.main()
    assert [question["images"] for question in questions] == [8, 8]
    return [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]

  return run


def test_measured_memory_is_beside_what_is_counted(run):
  rows = run(0, f"a warning\n{3 * 2**29}\n")
  assert [row[3:] for row in rows] == [["1", "4.0", "1.5 |"], ["2", "3.0", "1.5 |"]]


def test_a_gpu_that_is_too_small_is_said(run):
  assert [row[-1] for row in run(1, "", "RESOURCE_EXHAUSTED")] == ["out of memory |"] * 2
  assert [row[-1] for row in run(1, "", "ImportError")] == ["failed |"] * 2
