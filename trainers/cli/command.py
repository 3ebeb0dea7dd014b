"""The frame of every command: settings, errors in one line, and an exit status."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import importlib
import importlib.util
import os
import pathlib
import re
import signal
import sys
from typing import Any

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.settings import arguments as arguments_lib
from iddpm_tf.settings import flagfile
from trainers.cli import help_text
from trainers.cli import output
from trainers.cli import signals

SECTIONS = tuple(config_lib.sections())
_USAGE_ERROR = 2
_SIGPIPE = 128 + 13  # The status of a process that this signal ends, as shells have it.


@dataclasses.dataclass(frozen=True)
class _Standard:
  """Settings that every command has."""

  flagfile: str | None = settings.setting(
    None, "a file of flags, one per line; the last value of a flag holds"
  )
  help: bool = settings.setting(False, "list these flags")
  helpfull: bool = settings.setting(
    False, "list all flags, also those that do not change what this command does"
  )
  debug: bool = settings.setting(False, "show the traceback of an error")


class Command:
  """A command of `python -m trainers.NAME`.

  The module of a command begins with a docstring, whose first line says in one sentence what the
  command does, and whose first indented lines are an example. It ends with

  ```python
  COMMAND = command.Command(main, Options, __doc__, sections=("sampling",))

  if __name__ == "__main__":
    sys.exit(COMMAND.run())
  ```

  `main(options, given)` gets

  - `options`: an `Options`, the command's own settings. A field of `settings.required` has no
    default value, and `main` is not called without it. A field `flagfiles` of
    `settings.recorded(())` holds the paths of the flagfiles, as the command line gives them.
    `settings.changed(options)` returns the settings that do not have their default values.
  - `given`: `dict[str, Any]`, the settings of the configuration that the command line and its
    flagfiles give, by name. `config.with_settings(**given)` and `config.changed(given, folder)`
    take them.

  `main` returns the exit status, or None for 0. It raises `settings.InputError` for wrong input.
  The command prints the error in one line, with `--` before the name if that is one of its flags.
  It prints an `OSError` in the same way. Every other exception is a defect of the program, whose
  traceback is shown.
  """

  def __init__(
    self,
    main: Callable[[Any, dict[str, Any]], int | None],
    options_class: type,
    description: str | None,
    *,
    sections: Sequence[str] = SECTIONS,
    help_sections: Sequence[str] | None = None,
    default_source: str | None = None,
    needs_flags: bool = True,
  ):
    """Makes the command.

    Args:
      main: the function that does the work.
      options_class: a frozen dataclass of the command's own settings. Where one has the name of a
        setting of the configuration, the command's own meaning holds, and `given` leaves it out.
      description: the docstring of the command's module.
      sections: the sections of the configuration whose settings the command accepts as flags.
      help_sections: the sections that `--help` lists, because they change what the command does.
        The flags of the others are accepted because flagfiles hold them, and only `--helpfull`
        lists them. By default all of `sections`.
      default_source: what holds the settings that are not given, such as "the model folder"; None
        if they have the defaults of the configuration.
      needs_flags: whether the command does not run without any flag, but says what to type.
    """
    self.main, self.options_class, self.description = main, options_class, description or ""
    self.needs_flags, self._default_source = needs_flags, default_source
    self._own, self._standard = settings.by_name(options_class), settings.by_name(_Standard)
    self._sections = {
      section: {
        name: field
        for name, field in settings.by_name(config_lib.sections()[section]).items()
        if name not in self._own
      }
      for section in sections
    }
    self._help_sections = tuple(sections if help_sections is None else help_sections)

  def run(self, argv: Sequence[str] | None = None) -> int:
    """Parses the command line and runs the command.

    Args:
      argv: the name of the program, and then its arguments; `sys.argv` by default.

    Returns:
      The exit status of the process: 2 for wrong input.
    """
    if argv is None and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
      signal.signal(signal.SIGINT, signal.default_int_handler)  # See trainers/__init__.py.
    program, *texts = sys.argv if argv is None else argv
    texts = ["--help" if text == "-h" else text for text in texts]
    name = pathlib.Path(program).stem
    debug = any(re.fullmatch(r"--?debug(=(true|t|1))?", text, re.IGNORECASE) for text in texts)
    try:
      status = self._run(name, texts)
      sys.stdout.flush()
      return status
    except BrokenPipeError:
      if debug:
        raise
      output.discard()
      return _SIGPIPE
    except KeyboardInterrupt as interrupt:
      if debug:
        raise
      stopped = signals.Stopped(signal.SIGINT)
      if isinstance(interrupt, signals.Stopped):
        stopped = interrupt
      print(f"{name}: stopped by {stopped.signal.name}", file=sys.stderr)
      return stopped.status
    except (settings.InputError, OSError) as error:
      if debug:
        raise
      print(f"{name}: {self._line(error)}", file=sys.stderr)
      return error.exit_status if isinstance(error, settings.InputError) else _USAGE_ERROR

  def _run(self, name: str, texts: Sequence[str]) -> int:
    if not texts and self.needs_flags:
      print(help_text.short(name, self.description, self._own.values()), file=sys.stderr)
      return _USAGE_ERROR
    values = arguments_lib.parse(flagfile.expand(texts), self._flags())
    standard = {key: values.pop(key, False) for key in self._standard}
    if standard["help"] or standard["helpfull"]:
      output.print_all(self._help(name, everything=standard["helpfull"]))
      return 0
    options = self._options(values, texts)
    given = {key: value for key, value in values.items() if key not in self._own}
    return self.main(options, given) or 0

  def _flags(self) -> dict[str, dataclasses.Field[Any]]:
    flags = dict(self._standard)
    for section in self._sections.values():
      flags |= section
    return flags | self._own

  def _options(self, values: Mapping[str, Any], texts: Sequence[str]) -> Any:
    own = {key: value for key, value in values.items() if key in self._own}
    for field in self._own.values():
      if help_text.is_required(field) and own.get(field.name) in (None, "", ()):
        text = field.metadata["help"]
        raise settings.InputError(field.name, f"expected {text}, received nothing")
    if any(field.name == "flagfiles" for field in dataclasses.fields(self.options_class)):
      own["flagfiles"] = tuple(flagfile.named_by(texts))
    return self.options_class(**own)

  def _help(self, name: str, everything: bool) -> str:
    """Returns the text of `--help` or of `--helpfull`."""
    source = self._default_source
    origin = f" (default: those of {source})" if source else ""
    groups = [
      help_text.Group(f"{section.capitalize()} settings{origin}", fields.values(), not source)
      for section, fields in self._sections.items()
      if everything or section in self._help_sections
    ]
    standard = dict(self._standard)
    if set(self._sections) <= set(self._help_sections):
      del standard["helpfull"]
    required = [field for field in self._own.values() if help_text.is_required(field)]
    optional = [field for field in self._own.values() if not help_text.is_required(field)]
    groups = [
      help_text.Group("Required flags", required),
      help_text.Group(f"Flags of {name}", optional),
      *groups,
      help_text.Group("Flags of every command", standard.values()),
    ]
    return help_text.full(self.description, [group for group in groups if group.fields])

  def _line(self, error: settings.InputError | OSError) -> str:
    """Returns what is wrong, in one line, in the words of the command line."""
    if isinstance(error, arguments_lib.UnknownSettingError):
      line = self._unknown(error)
    elif isinstance(error, settings.InputError):
      line = f"{'--' if error.name in self._flags() else ''}{error.name}: {error.message}"
    elif error.filename is not None:
      line = f"{error.filename}: {error.strerror}"
    else:
      line = str(error)
    return " ".join(line.splitlines())

  def _unknown(self, error: arguments_lib.UnknownSettingError) -> str:
    line = f"--{error.name}: there is no such flag{arguments_lib.in_parentheses(error.where)}"
    if error.name in settings.by_name(*config_lib.sections().values()):
      return f"{line}: it is a setting of a model, and this command takes none"
    return f"{line}; did you mean --{error.nearest}?" if error.nearest else line


def require_packages(*names: str, extra: str) -> None:
  """Raises an `InputError` unless the packages of one of the optional dependencies are installed.

  Args:
    *names: the names under which the packages are imported.
    extra: the name of the optional dependency in this package's metadata.
  """
  missing = [name for name in names if importlib.util.find_spec(name) is None]
  if missing:
    raise settings.InputError(
      "packages",
      f"expected {', '.join(names)}, received none called {missing[0]}; run once: "
      f"pip install 'iddpm_tf[{extra}]'",
    )


def load_tensorflow() -> None:
  """Imports TensorFlow, without the lines that it prints before any log level counts.

  A command calls it once the flags are known to be right, since it takes seconds.
  """
  sys.stderr.flush()
  stderr = os.dup(2)
  with open(os.devnull, "w") as nothing:
    os.dup2(nothing.fileno(), 2)
  try:
    with signals.exits_at_once(stderr):
      importlib.import_module("tensorflow").get_logger().setLevel("ERROR")
      # TFDS logs what it does as warnings.
      importlib.import_module("absl.logging").set_verbosity("error")
      importlib.import_module("tensorflow_probability")
  finally:
    os.dup2(stderr, 2)
    os.close(stderr)
