"""`python -m trainers`, and what all commands have in common."""

import importlib
import pathlib
import re
import subprocess
import sys

import pytest

from trainers.cli import command
from trainers.cli import listing

COMMANDS = listing.commands()
ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture(name="wide", autouse=True)
def fixture_wide(monkeypatch):
  monkeypatch.setenv("COLUMNS", "100")


def made(name) -> command.Command:
  return importlib.import_module(f"trainers.{name}").COMMAND


def test_every_file_is_a_command():
  files = {path.stem for path in (ROOT / "trainers").glob("*.py")}
  assert set(COMMANDS) == files - {"__init__", "__main__"}


@pytest.mark.parametrize("flags", ((), ("--help",), ("-h",)))
def test_the_list_has_one_line_per_command(capsys, flags):
  assert listing.run(flags) == 0
  out = capsys.readouterr().out
  for name, summary in COMMANDS.items():
    assert re.search(rf"^  {name} +{re.escape(summary)}$", out, re.MULTILINE)


@pytest.mark.parametrize(
  "argument, hint",
  [("sample", "trainers.sample"), ("trainers.sampel", "trainers.sample"), ("zzz", None)],
)
def test_a_command_is_a_module(capsys, argument, hint):
  assert listing.run([argument, "--model_dir=a"]) == 2
  err = capsys.readouterr().err
  assert err == f"trainers: expected no arguments, received {argument!r}" + (
    f"; type: python -m {hint}\n" if hint else "\n"
  )


@pytest.mark.parametrize("name", COMMANDS)
def test_docstrings_are_a_sentence_and_an_example(name):
  assert re.fullmatch(r"[A-Z][a-z]+s\b.{,88}\.", COMMANDS[name])
  assert re.search(rf"^ +python -m trainers\.{name}\b", made(name).description, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_lists_own_flags_first_within_the_columns(capsys, name):
  assert made(name).run([name, "--help"]) == 0
  out = capsys.readouterr().out
  headings = re.findall(r"^.*(?:[Ff]lags|settings).*:$", out, re.MULTILINE)
  assert headings[-1] == "Flags of every command:"
  assert max(map(len, out.splitlines())) <= 100
  first = next((i for i, heading in enumerate(headings) if "settings" in heading), None)
  assert first is None or all("settings" in heading for heading in headings[first:-1])


@pytest.mark.parametrize("name", [name for name in COMMANDS if made(name).needs_flags])
def test_without_flags_it_says_what_to_type(capsys, name):
  assert made(name).run([name]) == 2
  out, err = capsys.readouterr()
  assert not out and f"python -m trainers.{name}" in err
  assert err.startswith(COMMANDS[name]) and len(err.splitlines()) <= 16


def test_no_command_imports_tensorflow_before_its_flags_are_known():
  code = "import importlib, sys\n" + "".join(
    f"importlib.import_module('trainers.{name}')\n" for name in COMMANDS
  )
  code += "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'torch')))"
  assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("module", ("trainers", "trainers.train"))
def test_a_reader_may_stop_early(module):
  """`python -m trainers.train --help | head -1` is no error."""
  with subprocess.Popen(
    [sys.executable, "-m", module, "--help"],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
  ) as process:
    process.stdout.close()
    assert process.stderr.read() == b""
  assert process.returncode == 0
