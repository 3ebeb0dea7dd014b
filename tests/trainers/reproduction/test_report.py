"""The report: its texts are escaped, and its figures are reproducible."""

import dataclasses
import re

from matplotlib import ticker
import numpy as np
import pytest

from tests.trainers.reproduction import html_page
from trainers.reproduction import claims
from trainers.reproduction import page as page_lib
from trainers.reproduction import records
from trainers.reproduction import report
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import tasks


def test_all_texts_are_escaped(tmp_path):
  evil = "<script>alert('&')</script>"
  claim = claims.Claim(7, evil, (claims.over_seeds(evil, [-1.0, -1.2, -0.9], evil),))
  section = sections.Section(
    evil,
    (sections.plot(lambda axis: axis.plot([0, 1]), evil),),
    (sections.Table((evil,), ((evil,), (None,)), evil),),
    (claim,),
  )
  small = scales.SCALES["small"]
  models = dataclasses.replace(small.likelihood_models, data=evil)
  scale = dataclasses.replace(small, likelihood_models=models)
  line = tasks.command_line(tasks.TrainingTask(evil, evil, (evil,), 1), tmp_path)
  report.write(
    tmp_path,
    scale,
    {"fig7": report.Entry(evil, section, [line], records.Time(125.0, False))},
    {8: [evil]},
  )
  text = (tmp_path / report.HTML).read_text()
  page = html_page.Page(text)
  page.require_self_contained()
  assert "<script" not in text and page.text.count(evil) >= 9
  assert "1 command, which took 2.1 minutes or more one after the other" in text
  # A claim that fails comes first, too, with its numbers.
  assert re.search(r"-1\.033.*fails", text.replace("\n", " "))


def test_the_same_numbers_give_the_same_picture():
  figures = [sections.plot(lambda axis: axis.plot(np.arange(5.0)), "a") for _ in range(2)]
  assert figures[0] == figures[1] and figures[0].png.startswith(b"\x89PNG")


@pytest.mark.parametrize(
  "values, labels",
  [
    ([25, 409], ["50", "100", "200"]),
    ([3.4, 7.1], ["4", "5", "7"]),
    ([0.9, 400], ["1", "2", "5", "10", "20", "50", "100", "200", "500"]),
  ],
)
def test_a_short_logarithmic_axis_has_plain_numbers(values, labels):
  for axis in _draw(values, "log"):
    low, high = axis.get_view_interval()
    ticks = zip(axis.get_majorticklocs(), axis.get_majorticklabels())
    assert [label.get_text() for place, label in ticks if low <= place <= high] == labels
    assert not any(label.get_text() for label in axis.get_minorticklabels())


@pytest.mark.parametrize(
  "values, scale",
  [([1, 9], "linear"), ([1, 5000], "log"), ([1e-5, 1e-4], "log"), ([1e12, 1e13], "log")],
)
def test_other_axes_keep_their_labels(values, scale):
  for axis in _draw(values, scale):
    assert not isinstance(axis.get_major_formatter(), ticker.StrMethodFormatter)


def _draw(values, scale):
  """Draws the same values on both axes of a figure, and returns the axes."""
  drawn = []

  def draw(axes):
    axes.plot(values, values)
    axes.set(xscale=scale, yscale=scale)
    drawn.extend((axes.xaxis, axes.yaxis))

  sections.plot(draw, "a")
  return drawn


def test_large_numbers_of_a_table_have_no_decimals():
  row = (36465437.04, -2986.8, 999.5, 0.55219, 12345)
  table = page_lib.table(sections.Table(tuple("abcde"), (row,), "a", digits=3))
  cells = re.findall("<td[^>]*>(.*?)</td>", table)
  assert cells == ["36,465,437", "-2,987", "999.500", "0.552", "12345"]
