"""The frame of every command: its settings, what it says is wrong, and its exit status."""

import dataclasses
import signal

import pytest

from iddpm_tf import settings
from trainers.cli import command
from trainers.cli import signals


@dataclasses.dataclass(frozen=True)
class Options:
  folder: str = settings.required("the folder of a run")
  seed: int = settings.setting(0, "seed of the first image")
  best: bool = settings.setting(False, "take the best checkpoint")
  flagfiles: tuple[str, ...] = settings.recorded(())

  def __post_init__(self):
    settings.require_seed(self.seed)


DESCRIPTION = """Draws things.

  python -m trainers.draw --folder=runs/digits

More about it.
"""


@pytest.fixture(name="run")
def fixture_run(capsys):
  """run(*flags, main=...) -> exit status, standard output, error stream."""

  def run(*flags, main=print, **kwargs):
    made = command.Command(main, Options, DESCRIPTION, **kwargs)
    status = made.run(["/somewhere/draw.py", *flags])
    return status, *capsys.readouterr()

  return run


def raising(error):
  def main(options, given):
    raise error

  return main


def given_to_main(run, *flags, **kwargs):
  calls = []
  status, _, err = run(*flags, main=lambda *arguments: calls.append(arguments), **kwargs)
  assert (status, err) == (0, "")
  (arguments,) = calls
  return arguments


def test_the_command_gets_its_options_and_the_settings_of_the_run_that_were_given(run):
  options, given = given_to_main(
    run, "--folder=a", "--best", "--batch_size=3", "--ema=0.9,0.99", "--norandom_flip"
  )
  assert options == Options(folder="a", best=True)
  assert given == {"batch_size": 3, "ema": (0.9, 0.99), "random_flip": False}


def test_the_commands_own_meaning_of_a_name_holds(run):
  options, given = given_to_main(run, "--folder=a", "--seed=3")
  assert options.seed == 3 and given == {}


def test_flagfiles_and_what_overrides_them(run, tmp_path):
  (tmp_path / "inner.flags").write_text("--batch_size=5\n--seed=5\n")
  path = tmp_path / "a.flags"
  path.write_text("--flagfile=inner.flags\n--batch_size=4\n")
  options, given = given_to_main(run, "--seed=6", f"--flagfile={path}", "--folder=a")
  assert options == Options(folder="a", seed=5, flagfiles=(str(path),))
  assert given == {"batch_size": 4}
  _, given = given_to_main(run, f"--flagfile={path}", "--folder=a", "--batch_size=3")
  assert given == {"batch_size": 3}


@pytest.mark.parametrize("status", (None, 0, 1, 130))
def test_the_exit_status_is_that_of_the_command(run, status):
  assert run("--folder=a", main=lambda options, given: status)[0] == (status or 0)


@pytest.mark.parametrize(
  "flags, line",
  [
    (("--seed=x",), "--seed: expected a whole number, received 'x'"),
    (("--folder=a", "--seed=-1"), f"--seed: expected a number from 0 to {2**31 - 1}, received -1"),
    (("--folder=",), "--folder: expected the folder of a run, received nothing"),
    (("--best",), "--folder: expected the folder of a run, received nothing"),
    (("--batchsize=3",), "--batchsize: there is no such flag; did you mean --batch_size?"),
    (("--folders=a",), "--folders: there is no such flag; did you mean --folder?"),
    (("--flagfiles=a",), "--flagfiles: there is no such flag; did you mean --flagfile?"),
    (("--xyz=a",), "--xyz: there is no such flag"),
    (("lr=3",), "arguments: expected settings of the form --name=value, received 'lr=3'"),
    (("--flagfile=no.flags",), "--flagfile: expected a file that exists, received no.flags"),
  ],
)
def test_wrong_flags_are_said_in_one_line(run, flags, line):
  assert run(*flags, main=raising(AssertionError())) == (2, "", f"draw: {line}\n")


def test_a_near_miss_in_a_flagfile_names_the_line(run, tmp_path):
  path = tmp_path / "a.flags"
  path.write_text("--folder=a\n--batchsize=3\n")
  _, _, err = run(f"--flagfile={path}")
  assert err == (
    f"draw: --batchsize: there is no such flag ({path}, line 2); did you mean --batch_size?\n"
  )


def test_a_command_takes_the_settings_of_its_sections_only(run):
  _, given = given_to_main(run, "--folder=a", "--batch_size=3", sections=("training",))
  assert given == {"batch_size": 3}
  status, _, err = run("--folder=a", "--batch_size=3", sections=("sampling",))
  assert status == 2 and err == (
    "draw: --batch_size: there is no such flag: it is a setting of a model, and this command takes "
    "none\n"
  )


@pytest.mark.parametrize(
  "error, line",
  [
    (settings.InputError("folder", "expected a, received b"), "--folder: expected a, received b"),
    (settings.InputError("batch_size", "expected a"), "--batch_size: expected a"),
    (settings.InputError("a/config.json", "expected a"), "a/config.json: expected a"),
    (
      settings.InputError("folder", "expected a,\n  received b"),
      "--folder: expected a,   received b",
    ),
    (
      FileNotFoundError(2, "No such file or directory", "a.npz"),
      "a.npz: No such file or directory",
    ),
    (OSError("the disk is gone"), "the disk is gone"),
  ],
)
def test_errors_are_said_in_one_line_with_the_flags_name(run, error, line):
  result = run("--folder=a", main=raising(error))
  assert result == (2, "", f"draw: {line}\n")


@pytest.mark.parametrize(
  "error", (settings.InputError("a", "b"), OSError("a"), KeyboardInterrupt())
)
@pytest.mark.parametrize("flag", ("--debug", "-debug", "--debug=True", "--debug=1"))
def test_debug_shows_where_an_error_came_from(run, error, flag):
  with pytest.raises(type(error)):
    run("--folder=a", flag, main=raising(error))


@pytest.mark.parametrize("flag", ("--nodebug", "--debug=false", "--folder=debug"))
def test_without_debug_an_error_is_one_line(run, flag):
  assert run("--folder=a", flag, main=raising(OSError("a"))) == (2, "", "draw: a\n")


@pytest.mark.parametrize("error", (ValueError("a"), KeyError("a"), AssertionError("a")))
def test_a_defect_of_the_program_shows_where_it_came_from(run, error):
  with pytest.raises(type(error)):
    run("--folder=a", main=raising(error))


def test_an_interrupt_ends_a_command_in_one_line(run):
  assert run("--folder=a", main=raising(KeyboardInterrupt())) == (
    130,
    "",
    "draw: stopped by SIGINT\n",
  )
  assert run("--folder=a", main=raising(signals.Stopped(signal.SIGTERM))) == (
    143,
    "",
    "draw: stopped by SIGTERM\n",
  )


def test_signals_are_raised_in_the_block_only():
  before = signal.getsignal(signal.SIGTERM)
  with pytest.raises(signals.Stopped) as stopped, signals.raised():
    signal.raise_signal(signal.SIGTERM)
  assert (stopped.value.signal, stopped.value.status) == (signal.SIGTERM, 143)
  assert signal.getsignal(signal.SIGTERM) is before


def test_a_command_without_flags_says_what_to_type(run):
  status, out, err = run()
  assert (status, out) == (2, "")
  assert err == (
    "Draws things.\n\n  python -m trainers.draw --folder=runs/digits\n\nRequired:\n"
    "  --folder=TEXT               the folder of a run\n\n"
    "All flags: python -m trainers.draw --help\n"
  )


def test_a_command_may_run_without_flags():
  calls = []

  @dataclasses.dataclass(frozen=True)
  class Nothing:
    pass

  made = command.Command(lambda *arguments: calls.append(arguments), Nothing, "", needs_flags=False)
  assert made.run(["draw"]) == 0 and calls == [(Nothing(), {})]


def test_help_lists_what_matters_and_helpfull_everything(run):
  kwargs = {"help_sections": ("sampling",), "default_source": "the model folder"}
  status, out, err = run("--help", **kwargs)
  assert (status, err) == (0, "")
  assert out.startswith(DESCRIPTION.strip())
  headings = [line for line in out.splitlines() if line.endswith(":") and line[0] != " "]
  assert headings == [
    "Required flags:",
    "Flags of draw:",
    "Sampling settings (default: those of the model folder):",
    "Flags of every command:",
  ]
  assert "--num_samples=NUMBER" in out and "--batch_size" not in out and "--helpfull" in out
  _, full, _ = run("--helpfull", **kwargs)
  assert "--batch_size=NUMBER" in full and set(out.splitlines()) < set(full.splitlines())


def test_h_is_short_for_help(run):
  assert run("-h") == run("--help")


def test_help_of_a_command_that_takes_no_model_is_short(run):
  _, out, _ = run("--help", sections=())
  assert "--num_samples" not in out and "--helpfull" not in out
  assert len(out.splitlines()) < 24


def test_help_is_printed_even_where_other_flags_are_missing(run):
  assert run("--help", "--seed=1", main=raising(AssertionError()))[0] == 0
