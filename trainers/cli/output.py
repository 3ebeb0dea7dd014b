"""The standard output of a command, which a reader such as `head` may close early."""

import os
import sys


def print_all(text: str) -> None:
  """Prints text, or as much of it as is read."""
  try:
    print(text, flush=True)
  except BrokenPipeError:
    discard()


def discard() -> None:
  """Discards what is printed from now on, and what has not been read yet."""
  with open(os.devnull, "w") as nothing:
    os.dup2(nothing.fileno(), sys.stdout.fileno())
