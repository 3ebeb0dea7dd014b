"""The frame of every command: flags in, one line for what is wrong, an exit status."""

import importlib
import importlib.util
import os
import pathlib
import sys

from absl import flags as absl_flags
from absl import logging as absl_logging

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from trainers.cli import flags


def run(main, options_class, description, argv=None):
  """Parses the flags and calls `main(options, flag_values)`; the process's exit status.

  Args:
    main: the command.
    options_class: a dataclass of the command's own settings. Where it shares a name with the
      configuration, the command's meaning holds.
    description: the first lines of `--help`.
    argv: with the program's name first; `sys.argv` by default.
  """
  argv = sys.argv if argv is None else argv
  name = pathlib.Path(argv[0]).stem
  flag_values = absl_flags.FlagValues()
  absl_flags.DEFINE_bool("help", False, "print this", flag_values=flag_values)
  absl_flags.DEFINE_bool("debug", False, "show where an error came from", flag_values=flag_values)
  flags.define(flag_values, options_class, "command")
  own = options_class.__dataclass_fields__
  for section, dataclass in config_lib.parts().items():
    flags.define(flag_values, dataclass, section, skip=own)
  try:
    flags.parse(flag_values, argv)
    if flag_values.help:
      print(f"{description.strip()}\n{flag_values.get_help()}")
      return 0
    return main(flags.read(flag_values, options_class), flag_values) or 0
  except (ValueError, OSError, absl_flags.Error) as error:
    if flag_values["debug"].value:
      raise
    print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
    return 2


def require_own_flags_only(options, flag_values, why):
  """`ValueError`, with `why`, for a setting of the configuration, which would be of no effect."""
  own = {*vars(options), "flagfile", "help", "debug"}
  for name in sorted(set(flag_values) - own):
    settings.require(not flag_values[name].present, name, why, flag_values[name].value)


def require_packages(*names, extra):
  """`ValueError` unless packages that not every user needs are there."""
  missing = [name for name in names if importlib.util.find_spec(name) is None]
  if missing:
    raise ValueError(
      f"expected the packages {', '.join(names)}, received none of the name {missing[0]}; run once: "
      f"pip install 'iddpm_tf[{extra}]'"
    )


def make_output_dir(folder, flag="output_dir"):
  """Makes a folder for results before the work begins; `ValueError` if that cannot be."""
  try:
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise ValueError(
      f"--{flag}: expected a folder that can be written, received {folder} ({error.strerror})"
    ) from None


def load_tensorflow():
  """Imports TensorFlow, without the lines that it prints before any log level counts.

  Commands call it once their flags are known to be right: what is wrong is then said at once.
  """
  sys.stderr.flush()
  stderr = os.dup(2)
  with open(os.devnull, "w") as nothing:
    os.dup2(nothing.fileno(), 2)
  try:
    importlib.import_module("tensorflow").get_logger().setLevel("ERROR")
    absl_logging.set_verbosity(absl_logging.ERROR)  # TFDS warns of what it does itself.
    importlib.import_module("tensorflow_probability")
  finally:
    os.dup2(stderr, 2)
    os.close(stderr)
