"""The list of commands, which `python -m trainers` prints."""

import ast
from collections.abc import Sequence
import difflib
import pathlib
import sys

from trainers.cli import help_text
from trainers.cli import output

_FOLDER = pathlib.Path(__file__).parents[1]
_USAGE_ERROR = 2


def commands() -> dict[str, str]:
  """Returns what each command does, by its name: the first line of its module's docstring.

  The modules are read but not imported, which takes no time.
  """
  summaries = {}
  for path in sorted(_FOLDER.glob("[!_]*.py")):
    module = ast.parse(path.read_text(encoding="utf-8"))
    if _is_command(module):
      summaries[path.stem] = help_text.summary(ast.get_docstring(module) or "")
  return summaries


def run(arguments: Sequence[str]) -> int:
  """Prints the list, or what is to be typed for a command; returns the exit status."""
  known = commands()
  if not arguments or arguments[0] in ("--help", "-help", "-h", "help"):
    width = max(map(len, known)) + 2
    lines = [f"  {name:{width}}{summary}" for name, summary in known.items()]
    usage = "python -m trainers.NAME --flag=value ..."
    output.print_all("\n".join([usage, "", *lines, "", "python -m trainers.NAME --help"]))
    return 0
  name = arguments[0].removeprefix("trainers.")
  nearest = difflib.get_close_matches(name, known, n=1)
  hint = f"; type: python -m trainers.{nearest[0]}" if nearest else ""
  print(f"trainers: expected no arguments, received {arguments[0]!r}{hint}", file=sys.stderr)
  return _USAGE_ERROR


def _is_command(module: ast.Module) -> bool:
  """Returns whether a module assigns `COMMAND`."""
  return any(
    isinstance(target, ast.Name) and target.id == "COMMAND"
    for node in module.body
    if isinstance(node, ast.Assign)
    for target in node.targets
  )
