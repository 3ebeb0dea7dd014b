"""The tables and plots of `benchmarks.speed`."""

import json

from PIL import Image
import pytest

from benchmarks.speed_comparison import contestants
from benchmarks.speed_comparison import machine
from benchmarks.speed_comparison import report
from benchmarks.speed_comparison import summaries

GIB = 2**30


@pytest.fixture(name="content")
def fixture_content():
  """The results of a run, in which one contestant has failed."""

  def result(seconds):
    return {
      "about": {"parameters": 1234567},
      "forward": [[seconds, 1.2 * seconds], [1.1 * seconds, 1.3 * seconds]],
      "training": [[4 * seconds], [5 * seconds]],
      "evaluation": [[1.1 * seconds], [1.1 * seconds]],
      "first_step": 30 * seconds,
      "peak_memory": int(2 * GIB * seconds),
    }

  work = contestants.Work(
    contestants.Contestant("here", "float32"), contestants.NETWORKS["tiny"], 8, 50, 25, 2
  )
  return {
    "machine": machine.describe(),
    "work": work.to_json(),
    "results": {
      "here_float32": result(1.0),
      "here_bfloat16": result(0.5),
      "pytorch_float32": result(1.5),
      "pytorch_float32_compiled": {"error": "InductorError: no C++ compiler was found"},
      "floor_float32": {"forward": [[0.5], [0.5]], "training": [[1.5], [1.5]]},
    },
  }


def cells(text, first):
  """Returns the cells of the rows of a table that begin with a text."""
  rows = [line.strip()[1:-1].split("|") for line in text.splitlines() if line.startswith("|")]
  return [list(map(str.strip, row)) for row in rows if row[0].strip() == first]


def test_a_row_has_the_medians_with_their_quartiles(content):
  (row,) = cells(report.comparison(content), "here, float32")[:1]
  assert row[1:4] == ["1,234,567", "1.150 (1.075 to 1.225)", "4.500 (4.250 to 4.750)"]
  assert "30.0" in row, "A single value has no quartiles."
  assert "2.00" in row


def test_all_rows_have_the_columns_of_the_head(content):
  tables = report.comparison(content).split("\n\n")
  for table in (part for part in tables if part.startswith("|")):
    counts = {line.count("|") for line in table.splitlines()}
    assert len(counts) == 1, table


def test_the_ratios_say_who_is_compared(content):
  (row,) = cells(report.ratios(content["results"]), "training step")
  both, float32 = row[1:]
  assert both == "3.00 (3.00 to 3.00): PyTorch, float32, NCHW, eager / here, mixed_bfloat16"
  assert float32 == "1.50 (1.50 to 1.50): PyTorch, float32, NCHW, eager / here, float32"


def test_the_floor_is_compared_in_its_precision(content):
  rows = report.own_ratios(content["results"])
  assert "| here, float32 | training step / its convolutions alone | 3.00 |" in rows
  assert "| here, mixed_bfloat16 | training step / its convolutions alone" not in rows


def test_what_has_failed_is_said(content):
  text = report.comparison(content)
  assert "- PyTorch, float32, NCHW, torch.compile: InductorError: no C++ compiler" in text


def test_the_machine_is_described(content):
  words = machine.in_words(content["machine"])
  assert content["machine"]["processor"] in words and "tensorflow 2." in words
  json.dumps(content["machine"])


def test_the_comparison_is_plotted(content, tmp_path):
  report.plot_comparison(tmp_path / "speed.png", content)
  assert Image.open(tmp_path / "speed.png").width > 500


def test_growth_has_a_table_and_a_column_of_plots_for_each_axis(content, tmp_path):
  results = list(content["results"].values())
  content["axes"] = {
    "batch size": [
      {"value": value, "batch_size": value, "result": result}
      for value, result in zip((1, 2), results)
    ],
    "sampling steps": [
      {"value": 10, "batch_size": 8, "result": {"sampling": [[1.0, 1.0, 2.0]]}},
      {"value": 25, "batch_size": 8, "result": {"error": "its process ended with status -9"}},
    ],
  }
  text = report.growth(content)
  assert cells(text, "10") == [["10", "8", "1.00 (1.00 to 1.50)"]]
  assert "sampling steps 25: its process ended with status -9" in text
  report.plot_growth(tmp_path / "growth.png", content)
  assert Image.open(tmp_path / "growth.png").width > 500


def test_digits_and_units():
  spread = summaries.spread([GIB, 2.0 * GIB, 3.0 * GIB])
  assert report.shown(spread, GIB, 1) == "2.0 (1.5 to 2.5)"
