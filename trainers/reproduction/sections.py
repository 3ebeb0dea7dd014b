"""What an experiment shows: figures, tables, claims."""

import base64
import io
import pathlib
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # pylint: disable=wrong-import-position

_COLOURS = ("#2f6f9f", "#c8553d", "#588157", "#8d6a9f", "#b08900", "#4d4d4d")
STYLE = {
  "font.size": 9,
  "axes.grid": True,
  "grid.alpha": 0.25,
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.prop_cycle": matplotlib.cycler(color=_COLOURS),
  "lines.linewidth": 1.4,
  "legend.frameon": False,
}


class Figure(NamedTuple):
  """A picture with a caption."""

  png: bytes
  caption: str
  pixelated: bool = False  # A grid of small images, to be enlarged without blur.

  @property
  def data_uri(self):
    return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


class Table(NamedTuple):
  """Rows of strings, numbers, and None where there is nothing."""

  columns: tuple[str, ...]
  rows: tuple[tuple, ...]
  caption: str
  digits: int = 3


class Section(NamedTuple):
  """An experiment's part of the report."""

  title: str
  text: str
  figures: tuple[Figure, ...] = ()
  tables: tuple[Table, ...] = ()
  claims: tuple = ()  # `claims.Claim`


def plot(draw, caption, *, columns=1, width=5.0, height=3.2):
  """The `Figure` that `draw(*axes)` draws on so many axes side by side."""
  with matplotlib.rc_context(STYLE):
    figure, axes = pyplot.subplots(
      1, columns, figsize=(width * columns, height), layout="constrained", squeeze=False
    )
    draw(*axes[0])
    buffer = io.BytesIO()
    # No version or date: the same numbers are the same file.
    figure.savefig(buffer, format="png", dpi=144, metadata={"Software": None})
    pyplot.close(figure)
  return Figure(buffer.getvalue(), caption)


def grid(path, caption):
  """The `Figure` of a PNG file of images."""
  return Figure(pathlib.Path(path).read_bytes(), caption, pixelated=True)
