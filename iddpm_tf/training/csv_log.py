"""Scalars of a training in a CSV file, a row for each step that is logged."""

from collections.abc import Iterable
from collections.abc import Mapping
import os
import pathlib

from iddpm_tf.utils import files

_STEP = "step"


class CsvLog:
  """A CSV file with a header, whose first column is the step.

  A kill or a full disk leaves at most one row that is not whole, which the next use drops.
  """

  def __init__(self, path: str | os.PathLike[str]):
    """Reads the file, if there is one. Nothing is written.

    Args:
      path: the file.
    """
    self._path = pathlib.Path(path)
    self._columns, rows = self._read()
    # Whether the file holds these rows and nothing else, so that one more can be added at its end.
    self._is_whole = self._path.exists() and self._path.read_text("utf-8", "replace") == self._text(
      rows
    )

  def go_back(self, step: int) -> None:
    """Drops the rows after a step, from which a training continues."""
    _, rows = self._read()
    kept = [row for row in rows if int(row[_STEP]) <= step]
    if len(kept) < len(rows) or (rows and not self._is_whole):
      self._write(kept)

  def append(self, step: int, values: Mapping[str, float]) -> None:
    """Adds a row.

    Args:
      step: the step.
      values: the values by the names of their columns. New names become new columns, which are
        empty in the rows before.
    """
    row = {_STEP: str(step)} | {name: f"{float(value):.8g}" for name, value in values.items()}
    if self._is_whole and row.keys() <= set(self._columns) and self._path.exists():
      self._is_whole = False  # Until the row is.
      with self._path.open("a", encoding="utf-8", newline="") as file:
        file.write(self._text([row], header=False))
      self._is_whole = True
      return
    columns, rows = self._read()
    self._columns = list(dict.fromkeys([*(columns or [_STEP]), *row]))
    self._write([*rows, row])

  def _write(self, rows: Iterable[Mapping[str, str]]) -> None:
    self._is_whole = False
    files.write_text(self._path, self._text(rows))
    self._is_whole = True

  def _text(self, rows: Iterable[Mapping[str, str]], *, header: bool = True) -> str:
    lines = [self._columns] if header else []
    lines += [[row.get(name, "") for name in self._columns] for row in rows]
    return "".join(",".join(line) + "\n" for line in lines)

  def _read(self) -> tuple[list[str], list[dict[str, str]]]:
    """Returns the names of the columns, and the rows that are whole."""
    if not self._path.exists():
      return [], []
    text = self._path.read_text(encoding="utf-8", errors="replace")
    columns, *lines = [line.split(",") for line in text.split("\n")[:-1]] or [[]]
    if columns[:1] != [_STEP]:
      return [], []
    whole = (line for line in lines if len(line) == len(columns) and line[0].isdecimal())
    return columns, [dict(zip(columns, line, strict=True)) for line in whole]
