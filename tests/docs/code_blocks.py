"""Code blocks of pages in Markdown."""

from collections.abc import Iterator
import pathlib
import re
import shlex
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[2]
_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
  """A code block.

  Attributes:
    line: the line of the page at which its text begins.
    language: the word after the backticks, such as `python` or `sh`.
    text: its text.
    start: the position of its first backtick in the page.
    end: the position after its last backtick.
  """

  line: int
  language: str
  text: str
  start: int
  end: int


def pages() -> list[pathlib.Path]:
  """Returns every page that users read."""
  others = ("README.md", "CONTRIBUTING.md", "configs/README.md", "trainers/reproduction/README.md")
  more = ("benchmarks/README.md", "saved_models/README.md")
  return [ROOT / name for name in (*others, *more)] + sorted((ROOT / "docs").glob("*.md"))


def blocks(page: str) -> list[Block]:
  """Returns the code blocks of a page, in order."""
  return [
    Block(page.count("\n", 0, match.start()) + 2, match["language"], match["text"], *match.span())
    for match in _FENCE.finditer(page)
  ]


def command_lines(text: str) -> Iterator[list[str]]:
  """Yields the commands of a shell block as lists of words, without comments."""
  for line in text.replace("\\\n", " ").splitlines():
    if words := shlex.split(line, comments=True):
      yield words


def run_python(block: Block, name: str, namespace: dict, folder: pathlib.Path) -> None:
  """Runs a Python block, and the functions `test_...` that it defines.

  Args:
    block: the block.
    name: a name of the block for its file, and for tracebacks.
    namespace: the names that earlier blocks of the page defined; this block adds its own.
    folder: a folder for the file.
  """
  path = folder / f"{name}.py"
  path.write_text(block.text)
  before = set(namespace)
  namespace["__file__"] = str(path)
  exec(compile(block.text, path, "exec"), namespace)
  for new in sorted(set(namespace) - before):
    if new.startswith("test_"):
      namespace[new]()
