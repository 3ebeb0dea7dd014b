"""`trainers.reproduce` as a user runs it, the experiments at a scale of seconds, and the report."""

import dataclasses
import html.parser
import json
import pathlib
import re

from absl import flags as absl_flags
import numpy as np
import pytest

from iddpm_tf import config as config_lib
from iddpm_tf.utils import files
from trainers import reproduce
from trainers.cli import command
from trainers.cli import flags as flags_lib
from trainers.reproduction import claims
from trainers.reproduction import report
from trainers.reproduction import run as reproducing
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import tasks as tasks_lib
from trainers.reproduction import workers
from trainers.reproduction import workshop

# So small that nothing it shows means anything.
TINY = dataclasses.replace(
  scales.SCALES["small"],
  name="tiny",
  seeds=(0,),
  train_steps=2,
  samplers=("ancestral:3",),
  smaller=(
    "--image_size=4",
    "--channel_multipliers=1",
    "--attention_resolutions=",
    "--batch_size=8",
    "--num_samples=4",
    "--samplers=ancestral:3",
    "--save_every=1",
  ),
  nll=("--nll", "--num_examples=4", "--nll_steps=10"),
)


@pytest.fixture(autouse=True)
def fixture_root(monkeypatch):
  """Flagfiles are relative to the working folder."""
  monkeypatch.chdir(pathlib.Path(__file__).parents[3])


class Page(html.parser.HTMLParser):
  """What a page refers to, its text, and whether its tags close."""

  def __init__(self, text):
    super().__init__()
    self.open, self.sources, self.links, self.text = [], [], [], ""
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    attrs = dict(attrs)
    assert tag not in ("script", "link", "iframe", "object") and not any(
      name.startswith("on") for name in attrs
    )
    self.sources += [attrs["src"]] if "src" in attrs else []
    self.links += [attrs["href"]] if "href" in attrs else []
    if tag not in ("img", "meta", "br"):
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text += data


def run(*flags):
  return command.run(
    reproduce.main, reproduce.Options, reproduce.__doc__, ["reproduce", *map(str, flags)]
  )


def require_self_contained(page):
  assert not page.open
  assert all(source.startswith("data:image/png;base64,") for source in page.sources)
  assert all(link.startswith("#") for link in page.links)


def test_names_are_those_of_the_flag():
  assert tuple(reproducing.MODULES) == reproduce.EXPERIMENTS
  assert list(scales.SCALES) == ["small", "cifar10", "imagenet64"]


@pytest.mark.parametrize("scale", scales.SCALES.values(), ids=lambda scale: scale.name)
def test_tasks_are_distinct_and_their_flagfiles_there(scale):
  tasks = [
    task for module in reproducing.MODULES.values() for task in workshop.needed(module.needs(scale))
  ]
  distinct = dict.fromkeys(tasks)
  assert len({(type(task), task.name) for task in distinct}) == len(distinct)
  for task in distinct:
    if isinstance(task, tasks_lib.Run):
      assert pathlib.Path(task.flagfile).is_file() and task.name.startswith(scale.name) == bool(
        scale.table
      )


def test_figures_without_training(tmp_path, capsys):
  assert run("--experiment=fig1", f"--output_dir={tmp_path}") == 0
  assert str(tmp_path / "report.html") in capsys.readouterr().out
  page = Page((tmp_path / "report.html").read_text())
  require_self_contained(page)
  assert "near 1 but at the start" in page.text and "holds" in page.text
  content = json.loads((tmp_path / "report.json").read_text())
  (claim,) = content["experiments"]["fig1"]["claims"]
  assert claim["number"] == 2 and claim["verdict"] == "holds"
  # By hand: at t = 1 the linear schedule of 1,000 steps has beta_0 = 1e-4 and beta_1 = 1e-4 + 0.0199 / 999.
  second = 1e-4 + 0.0199 / 999
  expected = 1e-4 / (1 - (1 - 1e-4) * (1 - second))
  assert content["experiments"]["fig1"]["tables"][0]["rows"][1][2] == pytest.approx(expected)


@pytest.mark.parametrize(
  "flags, message",
  [
    (("--experiment=fig99",), "--experiment"),
    (("--scale=huge",), "--scale"),
    ((), "--output_dir"),
    (
      ("--output_dir={tmp}/r", "--base_channels=64"),
      "--base_channels: expected no setting of a model",
    ),
    (
      ("--output_dir={tmp}/r", "--scale=cifar10", "--data_dir={tmp}/none"),
      "--data_dir: expected a folder with data",
    ),
    (("--output_dir={tmp}/r", "--data_dir={tmp}"), "--data_dir: expected nothing at --scale=small"),
    (
      ("--output_dir={tmp}/r", "--scale=imagenet64", "--experiment=fig2", "--data_dir={tmp}"),
      "train_data_batch",
    ),
    (
      ("--output_dir={tmp}/r", "--scale=cifar10", "--experiment=fig8", "--data_dir={tmp}"),
      "--features: expected",
    ),
    (("--output_dir={tmp}/r", "--features=x"), "--features: expected nothing at --scale=small"),
    (("--output_dir={tmp}/r", "--workers=0"), "--workers: expected 1 or more"),
    (("--output_dir={tmp}/r", "--seeds=0"), "--seeds: expected 1 or more"),
    (
      ("--output_dir={tmp}/r", "--microbatches=2"),
      "--microbatches: expected nothing at --scale=small",
    ),
  ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(flags, message, tmp_path, capsys):
  assert run(*(flag.format(tmp=tmp_path) for flag in flags)) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert message in line
  assert not (tmp_path / "r").exists()


def test_an_experiment_killed_and_resumed_and_its_numbers(tmp_path, monkeypatch, capsys):
  """Of the tiny scale, by real commands; the report says what the results files say."""
  name = "table2"
  calls = []

  def runner(name, arguments):
    calls.append(name)
    if len(calls) == 3:
      raise KeyboardInterrupt
    return workers.run_command(name, arguments)

  monkeypatch.setattr(scales, "ROWS", scales.ROWS[4:5])
  monkeypatch.setattr(reproducing.table2, "_claims", lambda found: ())
  assert (
    reproducing.run([name], TINY, tmp_path, make_hands=lambda tasks: workers.Here(runner)) == 130
  )
  # What needs no training is there by then.
  assert list(json.loads((tmp_path / "report.json").read_text())["experiments"]) == [
    "fig1",
    "fig3",
    "fig5",
  ]
  assert reproducing.run([name], TINY, tmp_path, make_hands=lambda tasks: workers.Here(runner)) == 0
  assert "[3/3" in capsys.readouterr().out
  assert reproducing.run([name], TINY, tmp_path, make_hands=lambda tasks: workers.Here(runner)) == 0
  assert calls == ["train", "evaluate", "sample", "sample"]
  _require_numbers_of_the_files(tmp_path, name)
  page = Page((tmp_path / "report.html").read_text())
  require_self_contained(page)
  # Table 1 is there, too, since it shares the models; and Figures 1, 3 and 5.
  assert (
    len(page.sources) == 2 + 3
    and "python -m trainers.train --flagfile=configs/photos_small.flags" in page.text
  )


def _require_numbers_of_the_files(output, name):
  content = json.loads((output / "report.json").read_text())["experiments"][name]["tables"][0]
  column = content["columns"].index("our NLL")
  page = Page((output / "report.html").read_text())
  for row, of_table in zip(scales.ROWS, content["rows"]):
    path = TINY.nll_of(TINY.likelihood_run(row, 0)).folder(output) / "results.jsonl"
    (line,) = [json.loads(text) for text in path.read_text().splitlines()]
    assert of_table[column] == line["scores"]["nll"] and f"{line['scores']['nll']:.3f}" in page.text


def test_a_report_escapes_what_it_shows(tmp_path):
  evil = "<script>alert('&')</script>"
  claim = claims.Claim(7, evil, (claims.over_seeds(evil, [-1.0, -1.2, -0.9], evil),))
  figure = sections.plot(lambda axis: axis.plot([0, 1]), evil)
  section = sections.Section(
    evil, evil, (figure,), (sections.Table((evil,), ((evil,), (None,)), evil),), (claim,)
  )
  run_task = tasks_lib.Run(evil, evil, (evil,), 1)
  report.write(
    tmp_path,
    dataclasses.replace(TINY, about=evil),
    {"fig7": section},
    {"fig7": [tasks_lib.shown(run_task, tmp_path)]},
    {8: [evil]},
  )
  text = (tmp_path / "report.html").read_text()
  page = Page(text)
  require_self_contained(page)
  assert "<script" not in text and page.text.count(evil) >= 9
  # A claim that fails is shown first of all, with its numbers.
  assert re.search(r"-1\.033.*fails", text.replace("\n", " ")) and "fails" in page.text


def test_the_same_numbers_are_the_same_picture():
  figures = [sections.plot(lambda axis: axis.plot(np.arange(5.0)), "a") for _ in range(2)]
  assert figures[0] == figures[1] and figures[0].png.startswith(b"\x89PNG")


class Broken:
  """An experiment that cannot be shown."""

  @staticmethod
  def needs(scale):
    del scale
    return ()

  @staticmethod
  def show(scale, output):
    raise TypeError("no\nnumber")


def test_one_that_cannot_be_shown_hides_no_other(tmp_path, capsys):
  modules = {"fig7": Broken, "fig1": reproducing.fig1}
  assert reproducing.run(["fig1"], TINY, tmp_path, modules=modules) == 1
  assert capsys.readouterr().err == "fig7 could not be shown: TypeError: no number\n"
  text = Page((tmp_path / "report.html").read_text()).text
  assert "near 1 but at the start" in text and "fig7 could not be shown" in text
  assert "Not judged yet: claim 7 (fig7)" in text
  assert json.loads((tmp_path / "report.json").read_text())["claims_not_judged_yet"] == {
    "7": ["fig7"]
  }


def test_a_folder_is_of_one_scale_and_one_process(tmp_path, capsys):
  assert run("--experiment=fig1", f"--output_dir={tmp_path}") == 0
  assert run("--experiment=fig1", f"--output_dir={tmp_path}", "--scale=cifar10") == 2
  assert "--scale: expected small, which" in capsys.readouterr().err
  for text in ("[]", "{", '{"scale": "small"}'):
    (tmp_path / "other").mkdir(exist_ok=True)
    (tmp_path / "other/scale.json").write_text(text)
    assert run("--experiment=fig1", f"--output_dir={tmp_path / 'other'}") == 2
    assert "other/scale.json: expected what trainers.reproduce wrote" in capsys.readouterr().err
  with files.held(tmp_path):
    assert run("--experiment=fig1", f"--output_dir={tmp_path}") == 2
  assert "expected a folder that no other process writes to" in capsys.readouterr().err


def test_features_of_a_folder_are_those_of_its_other_experiments(tmp_path, capsys):
  features = tmp_path / "graph.pb"
  features.touch()
  output = tmp_path / "cifar10"
  common = ("--experiment=fig1", "--scale=cifar10", f"--output_dir={output}")
  assert run(*common, f"--features={features}") == 0
  assert run(*common) == 0
  assert json.loads((output / "scale.json").read_text()) == {
    "scale": "cifar10",
    "features": str(features),
  }
  assert run(*common, f"--features={tmp_path}") == 2
  assert f"--features: expected {features}" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"no graph", None])
def test_features_that_cannot_be_computed_are_said_before_the_first_training(
  content, tmp_path, capsys
):
  features = tmp_path / "graph.pb"
  if content is None:
    features.mkdir()
  else:
    features.write_bytes(content)
  assert (
    run(
      "--experiment=fig8",
      "--scale=cifar10",
      f"--features={features}",
      f"--output_dir={tmp_path / 'r'}",
      f"--data_dir={tmp_path}",
    )
    == 2
  )
  (line,) = [
    line for line in capsys.readouterr().err.splitlines() if line.startswith("reproduce: ")
  ]
  assert "--features: expected" in line and str(features) in line
  assert not (tmp_path / "r").exists()


def configuration(flagfile, *flags):
  """The `Config` that trainers.train has of them."""
  flag_values = absl_flags.FlagValues()
  for section, dataclass in config_lib.parts().items():
    flags_lib.define(flag_values, dataclass, section)
  flags_lib.parse(flag_values, ["train", f"--flagfile={flagfile}", *flags])
  return flags_lib.override(config_lib.Config(), flag_values)


@pytest.mark.parametrize("scale", scales.SCALES.values(), ids=lambda scale: scale.name)
def test_flags_of_all_trainings_are_configurations(scale):
  for task in dict.fromkeys(
    task
    for module in reproducing.MODULES.values()
    for task in workshop.needed(module.needs(scale))
    if isinstance(task, tasks_lib.Run)
  ):
    config = configuration(task.flagfile, *task.flags, f"--train_steps={task.train_steps}")
    assert config.training.train_steps == task.train_steps


@pytest.mark.parametrize("scale", scales.SCALES.values(), ids=lambda scale: scale.name)
def test_fid_is_of_images_of_the_shape_that_features_are_tried_on(scale):
  of_fid = [
    task.run
    for name in reproduce.OF_FID
    for task in reproducing.MODULES[name].needs(scale)
    if isinstance(task, tasks_lib.Measurement) and "--fid" in task.flags
  ]
  assert of_fid
  for task in dict.fromkeys(of_fid):
    data = configuration(task.flagfile, *task.flags).data
    size = data.image_size or {"digits": 8, "cifar10": 32}[data.dataset]
    assert (size, size, 1 if data.dataset == "digits" else 3) == scale.fid_image_shape


def test_seeds_and_microbatches_of_every_training(tmp_path, monkeypatch):
  """Those that measure the gradient's noise are in 8 parts at least."""
  wanted = []
  monkeypatch.setattr(
    reproducing,
    "run",
    lambda names, scale, output, **_: (
      wanted.extend(
        task for name in names for task in workshop.needed(reproducing.MODULES[name].needs(scale))
      )
      or 0
    ),
  )
  monkeypatch.setattr(reproducing.features_lib, "for_images", lambda *_: None)
  features = tmp_path / "graph.pb"
  features.touch()
  assert (
    run(
      "--scale=imagenet64",
      f"--features={features}",
      f"--output_dir={tmp_path / 'r'}",
      "--seeds=2",
      "--microbatches=4",
    )
    == 0
  )
  runs = [task for task in wanted if isinstance(task, tasks_lib.Run)]
  assert {task.name[-1] for task in runs} == {"0", "1"}
  for task in runs:
    parts = [flag for flag in task.flags if flag.startswith("--microbatches=")]
    assert parts[-1] == f"--microbatches={8 if '_noise_' in task.name else 4}"


@pytest.mark.parametrize("width", scales.SCALES["imagenet64"].scaling_widths)
def test_runs_of_figure_10_are_those_of_configs(width):
  task = scales.SCALES["imagenet64"].scaling_run(width, seed=0)
  ours, theirs = (
    configuration(task.flagfile, *task.flags),
    configuration(f"configs/scaling_{width}.flags"),
  )
  assert (ours.network, ours.diffusion, ours.data) == (
    theirs.network,
    theirs.diffusion,
    theirs.data,
  )
  assert ours.training.learning_rate == pytest.approx(theirs.training.learning_rate, rel=1e-4)
