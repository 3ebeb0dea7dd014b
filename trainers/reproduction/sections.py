"""What an experiment shows in the report: text, figures, tables and claims."""

import base64
from collections.abc import Callable
import io
import pathlib
from typing import Any
from typing import NamedTuple

from cycler import cycler
import matplotlib
from matplotlib import axis as axis_lib
from matplotlib import figure as figure_lib
from matplotlib import ticker

from trainers.reproduction import claims as claims_lib

_COLOURS = ("#2f6f9f", "#c8553d", "#588157", "#8d6a9f", "#b08900", "#4d4d4d")
_STYLE: Any = {
  "font.size": 9,
  "axes.grid": True,
  "grid.alpha": 0.25,
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.prop_cycle": cycler(color=_COLOURS),
  "lines.linewidth": 1.4,
  "legend.frameon": False,
}


class Figure(NamedTuple):
  """A picture with a caption.

  Attributes:
    png: the content of a PNG file.
    caption: the caption.
    pixelated: whether the picture is a grid of small images, which are enlarged without blur.
  """

  png: bytes
  caption: str
  pixelated: bool = False

  @property
  def data_uri(self) -> str:
    """The picture as the source of an HTML image."""
    return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


class Table(NamedTuple):
  """A table.

  Attributes:
    columns: the heads of the columns.
    rows: strings and numbers, and None for an empty cell.
    caption: the caption.
    digits: the digits after the point of floats below 1,000; larger ones have none.
  """

  columns: tuple[str, ...]
  rows: tuple[tuple[Any, ...], ...]
  caption: str
  digits: int = 3


class Section(NamedTuple):
  """The part of the report that belongs to one experiment.

  Attributes:
    text: a paragraph about what is shown.
    figures: the figures.
    tables: the tables.
    claims: the claims that the experiment judges.
  """

  text: str
  figures: tuple[Figure, ...] = ()
  tables: tuple[Table, ...] = ()
  claims: tuple[claims_lib.Claim, ...] = ()


def plot(
  draw: Callable[..., Any],
  caption: str,
  *,
  columns: int = 1,
  width: float = 5.0,
  height: float = 3.2,
) -> Figure:
  """Draws a figure.

  Args:
    draw: a function that draws on the axes that it is given, one argument for each.
    caption: the caption.
    columns: the number of axes, which stand side by side.
    width: the width of each of the axes, in inches.
    height: the height of the figure, in inches.
  """
  with matplotlib.rc_context(_STYLE):
    figure = figure_lib.Figure(figsize=(width * columns, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)
    draw(*axes[0])
    for drawn in axes[0]:
      _label_plainly(drawn.xaxis)
      _label_plainly(drawn.yaxis)
    buffer = io.BytesIO()
    # Without the version of Matplotlib, the same numbers give the same file.
    figure.savefig(buffer, format="png", dpi=144, metadata={"Software": None})
  return Figure(buffer.getvalue(), caption)


def _label_plainly(axis: axis_lib.Axis) -> None:
  """Labels a logarithmic axis by 1, 2, 5 and so on, where powers of ten would be few.

  Other axes stay as they are: linear ones, those of three decades or more, and those whose numbers
  are too long without an exponent.
  """
  low, high = sorted(axis.get_view_interval())
  if axis.get_scale() != "log" or high >= 1000 * low or low < 0.001 or high > 100_000:
    return
  multiples = (1, 2, 5) if high >= 10 * low else (1, 1.5, 2, 3, 4, 5, 7)
  axis.set_major_locator(ticker.LogLocator(subs=multiples))
  axis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
  axis.set_minor_formatter(ticker.NullFormatter())


def image_grid(path: pathlib.Path, caption: str) -> Figure:
  """Returns the figure of a PNG file with a grid of images."""
  return Figure(path.read_bytes(), caption, pixelated=True)
