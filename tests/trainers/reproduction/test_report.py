"""The report: its texts are escaped, and its figures are reproducible."""

import dataclasses
import re

import numpy as np

from tests.trainers.reproduction import html_page
from trainers.reproduction import claims
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
