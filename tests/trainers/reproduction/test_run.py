"""Runs of experiments: resumed, shared and broken ones."""

import dataclasses
import json
import pathlib
import re

import pytest

from tests.trainers.reproduction import html_page
from tests.trainers.reproduction import synthetic_results
from trainers.reproduction import executors
from trainers.reproduction import experiments
from trainers.reproduction import run
from trainers.reproduction import scales
from trainers.reproduction.experiments import base
from trainers.reproduction.experiments import table2

_SMALL = scales.SCALES["small"]
# The numbers of so small a scale mean nothing.
TINY = dataclasses.replace(
  _SMALL.with_seeds((0,)),
  name="tiny",
  sampler="ancestral:3",
  likelihood_models=dataclasses.replace(
    _SMALL.likelihood_models,
    train_steps=2,
    flags=(
      "--image_size=4",
      "--channel_multipliers=1",
      "--attention_resolutions=",
      "--batch_size=8",
      "--num_samples=4",
      "--samplers=ancestral:3",
      "--save_every=1",
    ),
  ),
  likelihood=scales.Likelihood(nll_flags=("--nll", "--num_examples=4", "--nll_steps=10")),
)


def test_an_experiment_is_killed_and_resumed(tmp_path, monkeypatch, capsys):
  """By real commands. The report shows the numbers of the results files."""
  monkeypatch.setattr(scales, "ROWS", (scales.COSINE_HYBRID,))
  monkeypatch.setattr(table2, "judge", lambda nll: ())
  calls = []

  def runner(name, arguments):
    calls.append(name)
    if len(calls) == 3:
      raise KeyboardInterrupt
    return executors.run_command(name, arguments)

  def run_table2():
    def make_executor(tasks):
      del tasks
      return executors.InProcess(runner)

    return run.run(["table2"], TINY, tmp_path, make_executor=make_executor)

  assert run_table2() == 130
  assert not (tmp_path / "report.json").exists()
  assert run_table2() == 0
  assert "[3/3" in capsys.readouterr().out
  assert run_table2() == 0
  assert calls == ["train", "evaluate", "sample", "sample"]
  page = html_page.Page((tmp_path / "report.html").read_text())
  page.require_self_contained()
  assert len(page.sources) == 1
  assert "python -m trainers.train --flagfile=configs/photos_small.flags" in page.text
  shown = json.loads((tmp_path / "report.json").read_text())["experiments"]
  assert list(shown) == ["table2"]  # Not Table 1, which shares the model, nor Figure 1.
  assert shown["table2"]["time"]["seconds"] > 0 and shown["table2"]["time"]["is_whole"]
  table = shown["table2"]["tables"][0]
  (row,) = table["rows"]
  results = tmp_path / "measurements/photos_small_cosine_4k_hybrid_seed0_nll/results.jsonl"
  (line,) = results.read_text().splitlines()
  nll = json.loads(line)["scores"]["nll"]
  assert row[table["columns"].index("our NLL")] == nll and f"{nll:.3f}" in page.text


class Broken(base.Experiment):
  """An experiment that cannot be shown."""

  title = "Figure 7: broken"
  claims = (7,)

  def show(self, scale, output):
    raise TypeError("no\nnumber")


def test_an_experiment_that_cannot_be_shown_does_not_hide_another_one(tmp_path, capsys):
  both = {"fig7": Broken(), "fig1": experiments.load("fig1")}
  assert run.run(["fig7", "fig1"], TINY, tmp_path, experiments=both) == 1
  assert capsys.readouterr().err == "fig7 could not be shown: TypeError: no number\n"
  text = html_page.Page((tmp_path / "report.html").read_text()).text
  assert "near 1 except at the start" in text and "fig7 could not be shown" in text
  assert "Not judged yet: claim 7 (fig7)" in text
  unjudged = json.loads((tmp_path / "report.json").read_text())["claims_not_judged_yet"]
  assert unjudged == {"7": ["fig7"]}


def test_the_new_experiment_of_the_readme(tmp_path, monkeypatch):
  monkeypatch.setitem(experiments.EXPERIMENTS._registered, "fig99", None)  # Removed afterwards.
  readme = pathlib.Path(run.__file__).with_name("README.md").read_text()
  (program,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
  exec(program, {})
  names = experiments.names()
  assert names.index("fig17") < names.index("fig99") < names.index("table1")
  status = run.run(
    ["fig99"],
    _SMALL,
    tmp_path,
    make_executor=lambda tasks: executors.InProcess(synthetic_results.run_command),
    experiments={"fig99": experiments.load("fig99")},
  )
  assert status == 0
  content = json.loads((tmp_path / "report.json").read_text())
  rows = content["experiments"]["fig99"]["tables"][0]["rows"]
  assert [row[1] for row in rows] == pytest.approx([3.9, 4.0, 4.1])


@pytest.mark.parametrize("status", [1, 2])
def test_a_command_that_fails_leaves_no_folder(tmp_path, status):
  status_of_run = run.run(
    ["fig2"],
    TINY,
    tmp_path / "output",
    make_executor=lambda tasks: executors.InProcess(lambda *_: status),
  )
  assert status_of_run == status and not (tmp_path / "output").exists()
