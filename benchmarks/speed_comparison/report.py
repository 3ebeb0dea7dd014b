"""Tables in Markdown and plots of results."""

from collections.abc import Sequence
import pathlib
from typing import Any
from typing import NamedTuple

from matplotlib import figure as figure_lib

from benchmarks.speed_comparison import contestants as contestants_lib
from benchmarks.speed_comparison import machine as machine_lib
from benchmarks.speed_comparison import summaries
from iddpm_tf.utils import files

GIB = 2**30
_COLOURS = {"here": "#2f6f9f", "pytorch": "#c8553d", "floor": "#7d7d7d"}


class Measure(NamedTuple):
  """A column of the table.

  Attributes:
    key: the name in the results.
    title: the head of the column.
    unit: what a value is divided by.
    digits: the digits after the point.
  """

  key: str
  title: str
  unit: float = 1.0
  digits: int = 3


MEASURES = (
  Measure("forward", "forward pass, s"),
  Measure("training", "training step, s"),
  Measure("sampling", "sampling loop, s", digits=2),
  Measure("evaluation", "likelihood, s per evaluation"),
  Measure("first_step", "first step, s", digits=1),
  Measure("first_image", "first image, s", digits=1),
  Measure("peak_memory", "peak memory, GiB", GIB, 2),
  Measure("peak_memory_of_steps", "the same without the start, GiB", GIB, 2),
)


def comparison(content: dict[str, Any]) -> str:
  """Returns the comparison in Markdown: the machine, all medians, and the ratios."""
  work, results = content["work"], content["results"]
  parts = [
    machine_lib.in_words(content["machine"]),
    f"Network `{work['network']['name']}`, batches of {work['batch_size']}, "
    f"{work['sampling_steps']} sampling steps, {work['likelihood_steps']} evaluations of a "
    f"likelihood, {work['threads']} threads. Medians; in parentheses the quartiles.",
    medians(results),
    "How many times as much PyTorch takes as this project, best against best:",
    ratios(results),
    "Within this project:",
    own_ratios(results),
    _failures(results),
  ]
  return "\n\n".join(part for part in parts if part) + "\n"


def medians(results: dict[str, dict[str, Any]]) -> str:
  """Returns the table of the medians with their quartiles, a row for each contestant."""
  titles = contestant_titles(results)
  rows = []
  for name, result in results.items():
    parameters = result.get("about", {}).get("parameters")
    cells = [titles[name], f"{parameters:,}" if parameters else ""]
    rows.append([*cells, *(_cell(result, measure) for measure in MEASURES)])
  return table(["", "weights", *(measure.title for measure in MEASURES)], rows)


def ratios(results: dict[str, dict[str, Any]]) -> str:
  """Returns the table of PyTorch's best over this project's best, with any precision and float32.

  The best is chosen for each measure.
  """
  rows = []
  for measure in MEASURES:
    row = [measure.title.split(",")[0] if measure.unit == 1.0 else measure.title[:-5]]
    for part in ("", "float32"):
      ratio = summaries.ratio_of_best(
        results, _names(results, "pytorch", part), _names(results, "here", part), measure.key
      )
      row.append(_shown_ratio(ratio, contestant_titles(results)))
    rows.append(row)
  return table(["", "best precision of both", "float32"], rows)


def own_ratios(results: dict[str, dict[str, Any]]) -> str:
  """Returns the table of this project's measures over each other and over the floor."""
  rows = []
  for name in _names(results, "here"):
    floor, precision = results.get(name.replace("here", "floor"), {}), results[name]
    pairs = (
      (
        "likelihood, one evaluation / forward pass",
        (precision, "evaluation"),
        (precision, "forward"),
      ),
      ("forward pass / its convolutions alone", (precision, "forward"), (floor, "forward")),
      ("training step / its convolutions alone", (precision, "training"), (floor, "training")),
    )
    for title, *both in pairs:
      over, under = (summaries.rounds_of(*each) for each in both)
      if over and under:
        # Evaluations and passes are of different rounds.
        spreads = [summaries.spread_of_rounds(rounds) for rounds in (over, under)]
        value = f"{spreads[0].median / spreads[1].median:.2f}"
        rows.append([contestant_titles(results)[name], title, value])
  return table(["", "", "ratio"], rows) if rows else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """Returns a table in Markdown."""
  lines = [head, ["---"] * len(head), *rows]
  return "\n".join(
    "|" + "".join(f" {cell} |" if cell else " |" for cell in cells) for cells in lines
  )


def shown(spread: summaries.Spread, unit: float = 1.0, digits: int = 3) -> str:
  """Returns a spread as text, such as `0.281 (0.279 to 0.290)`; a single value has no quartiles."""
  median, low, high = (f"{value / unit:.{digits}f}" for value in spread[:3])
  return median if spread.number == 1 else f"{median} ({low} to {high})"


def contestant_titles(results: dict[str, Any]) -> dict[str, str]:
  """Returns the name of each contestant in words."""
  titles = {each.name: each.title for each in contestants_lib.contestants(compiled=True)}
  return {name: titles.get(name, name) for name in results}


def plot_comparison(path: pathlib.Path, content: dict[str, Any]) -> None:
  """Draws a bar for each contestant and measure, with the quartiles, to a file."""
  results, titles = content["results"], contestant_titles(content["results"])
  shown_measures = [
    measure for measure in MEASURES if any(m.get(measure.key) for m in results.values())
  ]
  rows = max(-(-len(shown_measures) // 4), 1)
  figure = figure_lib.Figure(figsize=(16, rows * (1 + 0.28 * len(results))), layout="constrained")
  for number, measure in enumerate(shown_measures):
    axes = figure.add_subplot(rows, 4, number + 1)
    names = [name for name in reversed(results) if summaries.rounds_of(results[name], measure.key)]
    for name in names:
      rounds = summaries.rounds_of(results[name], measure.key)
      assert rounds
      median, low, high = (value / measure.unit for value in summaries.spread_of_rounds(rounds)[:3])
      error = [[median - low], [high - median]]
      axes.barh(titles[name], median, color=_COLOURS[name.split("_")[0]], xerr=error)
    axes.set_title(measure.title.replace(", ", ",\n"), fontsize=9)
    axes.tick_params(labelsize=7)
  _write(figure, path)


def growth(content: dict[str, Any]) -> str:
  """Returns how cost grows in Markdown: a table for each axis."""
  parts = [
    machine_lib.in_words(content["machine"]),
    f"Network `{content['work']['network']['name']}`, here in "
    f"{content['work']['contestant']['precision']}. Medians; in parentheses the quartiles.",
  ]
  for axis, points in content["axes"].items():
    measures = [m for m in MEASURES if any(m.key in point["result"] for point in points)]
    rows = [
      [
        str(point["value"]),
        str(point["batch_size"]),
        *(_cell(point["result"], m) for m in measures),
      ]
      for point in points
    ]
    parts.append(table([axis, "images", *(measure.title for measure in measures)], rows))
    parts += [
      f"{axis} {p['value']}: {p['result']['error']}" for p in points if "error" in p["result"]
    ]
  return "\n\n".join(parts) + "\n"


def plot_growth(path: pathlib.Path, content: dict[str, Any]) -> None:
  """Draws time and memory along each axis to a file: a column of two plots for each axis."""
  axes_of_growth = content["axes"]
  figure = figure_lib.Figure(figsize=(4 * len(axes_of_growth), 6), layout="constrained")
  plots = figure.subplots(2, len(axes_of_growth), squeeze=False)
  for column, (axis, points) in enumerate(axes_of_growth.items()):
    for measure in MEASURES:
      chosen = [(p["value"], summaries.rounds_of(p["result"], measure.key)) for p in points]
      known = [(value, summaries.spread_of_rounds(rounds)) for value, rounds in chosen if rounds]
      if not known or measure.key.startswith("first"):
        continue
      values = [value for value, _ in known]
      median, low, high = (
        [getattr(each, name) / measure.unit for _, each in known]
        for name in ("median", "low", "high")
      )
      plot = plots[int("memory" in measure.key)][column]
      (line,) = plot.plot(values, median, marker=".", label=measure.title)
      plot.fill_between(values, low, high, color=line.get_color(), alpha=0.2)
    for row in plots:
      row[column].set(xlabel=axis, ylim=(0, None), xlim=(0, None))
      row[column].grid(alpha=0.3)
      if row[column].lines:
        row[column].legend(fontsize=7, frameon=False)
  _write(figure, path)


def _cell(result, measure):
  rounds = summaries.rounds_of(result, measure.key)
  return shown(summaries.spread_of_rounds(rounds), *measure[2:]) if rounds else ""


def _shown_ratio(ratio, titles):
  if ratio is None:
    return ""
  return f"{shown(ratio.spread, digits=2)}: {titles[ratio.over]} / {titles[ratio.under]}"


def _names(results, framework, part=""):
  return [name for name in results if name.startswith(framework) and part in name]


def _failures(results):
  titles = contestant_titles(results)
  lines = [f"- {titles[name]}: {r['error']}" for name, r in results.items() if "error" in r]
  return "\n".join(["Not measured, or not to the end:", "", *lines]) if lines else ""


def _write(figure, path):
  with files.whole(path) as temporary:
    figure.savefig(temporary, dpi=110)
