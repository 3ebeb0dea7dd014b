"""`trainers.reproduce` as a user runs it, and the flags of its tasks."""

import json

import pytest

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.evaluation import features as features_lib
from iddpm_tf.settings import arguments
from iddpm_tf.settings import flagfile as flagfile_lib
from iddpm_tf.utils import files
from tests.trainers.reproduction import html_page
from trainers import reproduce
from trainers.reproduction import executors
from trainers.reproduction import experiments
from trainers.reproduction import run as run_lib
from trainers.reproduction import scales
from trainers.reproduction import scheduler
from trainers.reproduction import tasks as tasks_lib

SCALES = pytest.mark.parametrize("scale", scales.SCALES.values(), ids=lambda scale: scale.name)


def run(*flags):
  return reproduce.COMMAND.run(["reproduce", *map(str, flags)])


def error(capsys):
  """The one line on the error stream."""
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("reproduce: ")
  return line


def test_figures_without_training(tmp_path, capsys):
  assert run("--experiment=fig1", f"--output_dir={tmp_path}") == 0
  assert str(tmp_path / "report.html") in capsys.readouterr().out
  page = html_page.Page((tmp_path / "report.html").read_text())
  page.require_self_contained()
  assert "near 1 except at the start" in page.text and "holds" in page.text
  figure = json.loads((tmp_path / "report.json").read_text())["experiments"]["fig1"]
  (claim,) = figure["claims"]
  assert claim["number"] == 2 and claim["verdict"] == "holds"
  # By hand: at t = 1 the linear schedule of 1,000 steps has beta_0 = 1e-4 and
  # beta_1 = 1e-4 + 0.0199 / 999.
  second = 1e-4 + 0.0199 / 999
  expected = 1e-4 / (1 - (1 - 1e-4) * (1 - second))
  assert figure["tables"][0]["rows"][1][2] == pytest.approx(expected)


def test_the_report_shows_what_is_asked_for(tmp_path, capsys):
  for asked, shown in (
    ("fig5,fig1", ["fig1", "fig5"]),
    ("fig3", ["fig3"]),
    ("fig3,fig3", ["fig3"]),
  ):
    assert run(f"--experiment={asked}", f"--output_dir={tmp_path}") == 0
    assert capsys.readouterr().err == ""
    content = json.loads((tmp_path / "report.json").read_text())
    assert list(content["experiments"]) == shown
    assert content["claims_not_judged_yet"] == {}
    page = html_page.Page((tmp_path / "report.html").read_text())
    assert len(page.sources) == len(shown) and "Not judged yet" not in page.text


@pytest.mark.parametrize(
  "flags, message",
  [
    (("--output_dir={tmp}/r", "--experiment=fig99"), "--experiment: expected"),
    (("--output_dir={tmp}/r", "--experiment=fig1,fig99"), "--experiment: expected"),
    (("--output_dir={tmp}/r", "--experiment="), "--experiment: expected"),
    (("--output_dir={tmp}/r", "--scale=huge"), "--scale: expected"),
    (("--experiment=fig1",), "--output_dir: expected"),
    (("--output_dir={tmp}/file",), "--output_dir: expected a folder"),
    (("--output_dir={tmp}/r", "--base_channels=64"), "this command takes none"),
    (
      ("--output_dir={tmp}/r", "--scale=cifar10", "--data_dir={tmp}/none"),
      "--data_dir: expected a folder with data",
    ),
    (
      ("--output_dir={tmp}/r", "--data_dir={tmp}"),
      "--data_dir: cannot be combined with --scale=small",
    ),
    (
      ("--output_dir={tmp}/r", "--features=x"),
      "--features: cannot be combined with --scale=small",
    ),
    (
      ("--output_dir={tmp}/r", "--microbatches=2"),
      "--microbatches: cannot be combined with --scale=small",
    ),
    (
      ("--output_dir={tmp}/r", "--scale=cifar10", "--experiment=fig8", "--data_dir={tmp}"),
      "--features: expected",
    ),
    (
      ("--output_dir={tmp}/r", "--scale=cifar10", "--experiment=fig1,table2", "--data_dir={tmp}"),
      "a SavedModel, for the FID of table2, received",
    ),
    (("--output_dir={tmp}/r", "--workers=0"), "--workers: expected a positive number"),
    (("--output_dir={tmp}/r", "--seeds=0"), "--seeds: expected a positive number"),
  ],
)
def test_wrong_flags_are_one_line_and_nothing_is_written(flags, message, tmp_path, capsys):
  (tmp_path / "file").touch()
  assert run(*(flag.format(tmp=tmp_path) for flag in flags)) == 2
  assert message in error(capsys)
  assert not (tmp_path / "r").exists()


def test_wrong_data_is_one_line_of_the_command_that_reads_it(tmp_path, capsys):
  output = tmp_path / "r"
  flags = (f"--output_dir={output}", "--scale=imagenet64", f"--data_dir={tmp_path}")
  assert run(*flags, "--experiment=fig2") == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("train: ") and "train_data_batch" in line
  assert not output.exists()


def test_a_folder_has_one_scale_and_one_process(tmp_path, capsys):
  assert run("--experiment=fig1", f"--output_dir={tmp_path}") == 0
  assert run("--experiment=fig1", f"--output_dir={tmp_path}", "--scale=cifar10") == 2
  assert "--scale: expected small, with which" in error(capsys)
  other = tmp_path / "other"
  other.mkdir()
  for text in ("[]", "{", '{"scale": "small"}'):
    (other / "scale.json").write_text(text)
    assert run("--experiment=fig1", f"--output_dir={other}") == 2
    assert "other/scale.json: expected a record of trainers.reproduce" in error(capsys)
  # The other process has only written its scale so far.
  (other / "scale.json").write_text((tmp_path / "scale.json").read_text())
  for folder in (tmp_path, other):
    with files.held(folder):
      assert run("--experiment=fig1", f"--output_dir={folder}") == 2
    assert "expected a folder that no other process writes to" in error(capsys)
    assert (folder / "scale.json").exists()


def test_features_are_those_of_the_folder(tmp_path, capsys):
  output = tmp_path / "cifar10"
  common = ("--experiment=fig1", "--scale=cifar10", f"--output_dir={output}")
  # A folder without features gets those of a later run, and keeps them. It keeps no wrong ones.
  assert run(*common) == 0
  assert run(*common, "--features=graph.pb") == 2
  assert "--features: expected the path of the Inception graph or of a Sav" in error(capsys)
  assert run(*common, "--features=random") == 0
  assert run(*common) == 0
  record = json.loads((output / "scale.json").read_text())
  assert record == {"scale": "cifar10", "features": "random"}
  content = json.loads((output / "report.json").read_text())
  assert (content["features"], content["precision"]) == ("random", "float32")
  assert run(*common, f"--features={tmp_path}") == 2
  assert "--features: expected random" in error(capsys)


def test_a_path_of_features_may_be_written_in_another_way(tmp_path, monkeypatch):
  monkeypatch.setattr(features_lib, "for_images", lambda *_: None)
  monkeypatch.chdir(tmp_path)
  (tmp_path / "graph.pb").touch()
  for features in ("graph.pb", tmp_path / "graph.pb"):
    flags = ("--experiment=fig1", "--scale=cifar10", f"--features={features}")
    assert run(*flags, "--output_dir=r") == 0
  assert json.loads((tmp_path / "r" / "scale.json").read_text())["features"] == "graph.pb"


def test_further_seeds_of_claims_are_said(tmp_path):
  assert run("--experiment=fig1", f"--output_dir={tmp_path}") == 0
  content = json.loads((tmp_path / "report.json").read_text())
  assert content["seeds"] == [11, 12, 13]
  assert content["further_seeds"]["6"] == [14, 15, 16]
  page = html_page.Page((tmp_path / "report.html").read_text())
  assert "Seeds 11, 12, 13; parts of claim 6: also 14, 15, 16; parts of" in page.text


def test_seeds_that_chose_the_settings_are_said(tmp_path):
  assert run("--experiment=fig1", f"--output_dir={tmp_path}", "--seeds=4") == 0
  content = json.loads((tmp_path / "report.json").read_text())
  assert (content["seeds"], content["further_seeds"]) == ([0, 1, 2, 3], {})
  page = html_page.Page((tmp_path / "report.html").read_text())
  assert "Seeds 0, 1, 2, 3. iddpm_tf" in page.text
  assert "The verdicts of these seeds, 0, 1, 2, 3, are not independent." in page.text


def test_features_are_required_by_experiments_that_compare_them(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(run_lib, "run", lambda *_, **__: 0)
  needing = {
    name
    for name in experiments.names()
    if run("--scale=cifar10", f"--experiment={name}", f"--output_dir={tmp_path}") == 2
  }
  errors = capsys.readouterr().err
  assert errors.count("--features: expected the path of the Inception graph") == len(needing)
  # Figure 13 has FID where there are features. Figure 9 draws samples of a model of Figure 10.
  # Table 5 measures nothing at this scale.
  figures = {f"fig{number}" for number in (4, 8, 9, 10, 11, 13, 16, 17)}
  assert needing == figures | {"section3", "section4", "table1", "table2", "table4"}


def test_precision_is_that_of_the_folder(tmp_path, capsys):
  common = ("--experiment=fig1", f"--output_dir={tmp_path / 'bfloat16'}")
  assert run(*common, "--precision=mixed_bfloat16") == 0
  assert "compute in mixed_bfloat16" in (tmp_path / "bfloat16" / "report.html").read_text()
  record = json.loads((tmp_path / "bfloat16" / "scale.json").read_text())
  assert record == {"scale": "small", "features": None, "precision": "mixed_bfloat16"}
  assert run(*common) == 0
  assert "compute in mixed_bfloat16" in (tmp_path / "bfloat16" / "report.html").read_text()
  assert run(*common, "--precision=float32") == 2
  assert "--precision: expected mixed_bfloat16" in error(capsys)
  other = ("--experiment=fig1", f"--output_dir={tmp_path / 'unset'}")
  assert run(*other) == 0
  assert run(*other, "--precision=float32") == 0
  assert run(*other, "--precision=mixed_bfloat16") == 2
  assert "--precision: expected float32, with which" in error(capsys)
  # An earlier version wrote no record before the first report.
  (tmp_path / "unset" / "scale.json").unlink()
  (tmp_path / "unset" / "models").mkdir()
  assert run(*other, "--precision=mixed_bfloat16") == 2
  assert "--precision: expected float32, with which" in error(capsys)


def test_precision_is_recorded_before_the_first_task(tmp_path, monkeypatch, capsys):
  """A run that is stopped in its first training goes on in the same precision."""
  received = []

  def train(command, arguments):
    assert command == "train"
    received.append("--precision=mixed_bfloat16" in arguments)
    (tmp_path / "r" / "models").mkdir(exist_ok=True)  # The first checkpoint.
    return 1

  monkeypatch.setattr(executors, "make", lambda *_: executors.InProcess(train))
  common = ("--experiment=fig2", f"--output_dir={tmp_path / 'r'}")
  assert run(*common, "--precision=mixed_bfloat16") == 1
  assert run(*common) == 1
  assert received == [True, True]
  assert run(*common, "--precision=float32") == 2
  assert "--precision: expected mixed_bfloat16" in error(capsys)


@pytest.mark.parametrize("content", [b"", b"no graph", None])
def test_features_that_cannot_be_computed_are_reported_before_training(content, tmp_path, capsys):
  features, output = tmp_path / "graph.pb", tmp_path / "r"
  if content is None:
    features.mkdir()
  else:
    features.write_bytes(content)
  flags = ("--scale=cifar10", f"--features={features}", f"--data_dir={tmp_path}")
  assert run("--experiment=fig8", f"--output_dir={output}", *flags) == 2
  lines = capsys.readouterr().err.splitlines()
  (line,) = [line for line in lines if line.startswith("reproduce: ")]
  assert "--features: expected" in line and str(features) in line
  assert not output.exists()


def configuration(flagfile, *flags):
  """The configuration that `trainers.train` makes of a flagfile and flags."""
  known = settings.by_name(*config_lib.sections().values())
  texts = flagfile_lib.expand([f"--flagfile={flagfile}", *flags])
  return config_lib.Config().with_settings(**arguments.parse(texts, known))


def all_trainings(scale):
  """The trainings of all experiments, each once."""
  return dict.fromkeys(
    task
    for experiment in experiments.load_all().values()
    for task in scheduler.with_trainings(experiment.needs(scale))
    if isinstance(task, tasks_lib.TrainingTask)
  )


@SCALES
def test_flags_of_all_trainings_are_configurations(scale):
  for task in all_trainings(scale):
    config = configuration(task.flagfile, *task.flags, f"--train_steps={task.train_steps}")
    assert config.training.train_steps == task.train_steps


@pytest.mark.parametrize("name", ["cifar10", "imagenet64"])
def test_features_are_tried_on_images_of_the_shape_that_fid_compares(name):
  scale = scales.SCALES[name]  # At the small scale, no features can be chosen.
  trainings = dict.fromkeys(
    task.enlarged_by or task.training
    for experiment in experiments.load_all().values()
    for task in experiment.needs(scale)
    if isinstance(task, tasks_lib.EvaluationTask) and "--fid" in task.flags
  )
  assert trainings
  for task in trainings:
    data = configuration(task.flagfile, *task.flags).data
    size = data.image_size or {"cifar10": 32}[data.dataset]
    assert (size, size, 3) == scale.fid.image_shape


def test_seeds_and_microbatches_are_those_of_every_training(tmp_path, monkeypatch):
  """Trainings that measure the noise of the gradient keep their 8 parts."""
  received = []

  def receive(names, scale, output, **_):
    received.append((names, scale))
    return 0

  monkeypatch.setattr(run_lib, "run", receive)
  monkeypatch.setattr(features_lib, "for_images", lambda *_: None)
  features = tmp_path / "graph.pb"
  features.touch()
  flags = (f"--features={features}", f"--output_dir={tmp_path / 'r'}")
  assert run("--scale=imagenet64", *flags, "--seeds=2", "--microbatches=4") == 0
  ((names, scale),) = received
  assert names == experiments.names() and scale.fid.features == str(features)
  trainings = all_trainings(scale)
  assert {task.name[-1] for task in trainings} == {"0", "1"}
  for task in trainings:
    parts = [flag for flag in task.flags if flag.startswith("--microbatches=")]
    assert parts[-1] == f"--microbatches={8 if '_noise_' in task.name else 4}"


@SCALES
def test_precision_is_that_of_every_training(scale):
  for task in all_trainings(scale.with_precision("mixed_bfloat16")):
    assert configuration(task.flagfile, *task.flags).network.precision == "mixed_bfloat16"


@pytest.mark.parametrize("width", scales.SCALES["imagenet64"].scaling.widths)
def test_the_trainings_of_figure_10_are_those_of_the_flagfiles(width):
  from trainers.reproduction.experiments import fig10

  task = fig10.training(scales.SCALES["imagenet64"], width, seed=0)
  ours = configuration(task.flagfile, *task.flags)
  flagfiles = configuration(f"configs/scaling_{width}.flags")
  assert (ours.network, ours.diffusion) == (flagfiles.network, flagfiles.diffusion)
  assert ours.data == flagfiles.data
  rates = ours.training.learning_rate, flagfiles.training.learning_rate
  assert rates[0] == pytest.approx(rates[1], rel=1e-4)
