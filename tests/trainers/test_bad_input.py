"""Wrong input is reported in one line, with exit status 2, and nothing is left behind."""

import importlib
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from iddpm_tf import settings
from iddpm_tf.data import pictures
from iddpm_tf.evaluation.nll import full_sum
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.models import seeds
from iddpm_tf.settings import arguments
from iddpm_tf.training import run as run_lib
from tests.trainers import conftest
from trainers.cli import command as command_lib
from trainers.cli import listing

ROOT = pathlib.Path(__file__).parents[2]


def assert_refused(result, *words):
  assert result.status == 2
  assert result.err.count("\n") == 1, result.err
  for word in words:
    assert word in result.err
  assert "Traceback" not in result.err


@pytest.mark.parametrize(
  "flags, words",
  [
    (("--no_such_flag=1",), ("--no_such_flag",)),
    (("--batchsize=8",), ("--batchsize", "--batch_size?")),
    (("lr=3",), ("'lr=3'", "--name=value")),
    (("--train_steps=many",), ("--train_steps", "many")),
    (("--train_steps=0",), ("--train_steps", "positive", "0")),
    (("--channel_multipliers=1,x",), ("--channel_multipliers", "1,x")),
    (("--noise_schedule=square",), ("--noise_schedule", "linear", "square")),
    (("--flagfile=/nowhere.flags",), ("/nowhere.flags",)),
    (("--diffusion_steps=0",), ("--diffusion_steps", "0")),
    (("--diffusion_steps=20", "--noise_schedule=linear"), ("--diffusion_steps", "20")),
    (("--objective=simple",), ("--variance_type", "fixed_small", "learned_range")),
    (("--samplers=euler:5",), ("--samplers", "euler:5")),
    (("--samplers=ancestral:26",), ("--samplers", "25", "26")),
    (("--samplers=ddim:24",), ("ddim24", "25")),
    (("--channel_multipliers=1,1,1,1,1",), ("--channel_multipliers", "8x8")),
    (("--attention_resolutions=3",), ("--attention_resolutions", "3")),
    (("--batch_size=2000",), ("--batch_size", "1437", "2000")),
    (("--microbatches=3",), ("--microbatches", "batch_size=8", "3")),
    (("--dataset=nonsense",), ("--dataset", "nonsense")),
    (("--ema=1.5",), ("--ema", "1.5")),
    (("--decay_steps=100",), ("--decay_steps", "train_steps", "100")),
    (("--seed=2147483648",), ("--seed", "2147483648")),
    (("--data_dir=/proc/none",), ("--data_dir", "/proc/none")),
    (("--dataset=huggingface:mnist",), ("--dataset", "huggingface:mnist")),
    (("--model_dir=",), ("--model_dir",)),
  ],
)
def test_training_refuses(run, tmp_path, flags, words):
  folder = tmp_path / "run"
  assert_refused(run("train", *conftest.SMALL, f"--model_dir={folder}", *flags), *words)
  assert not folder.exists()


@pytest.mark.parametrize(
  "command, flags, words",
  [
    ("train", ("--dataset=folder",), ("--data_dir", "received nothing")),
    ("train", ("--dataset=records",), ("--data_dir", "received nothing")),
    ("train", ("--dataset=imagenet_npz", "--data_dir=/none"), ("--data_dir", "/none")),
    ("train", ("--dataset=lsun", "--data_dir=/none"), ("--data_dir", "/none")),
    ("train", ("--samplers=euler:5",), ("--samplers", "ancestral", "euler:5")),
    ("train", ("--samplers=ddim:0",), ("--samplers", "ddim:0")),
    ("train", ("--samplers=ddim:x",), ("--samplers", "ddim:x")),
    ("train", ("--channel_multipliers=0",), ("--channel_multipliers", "0")),
    ("sample", ("--model_dir=/none",), ("--model_dir", "/none")),
    ("evaluate", ("--model_dir=/none", "--nll"), ("--model_dir", "/none")),
    ("evaluate", ("--model_dir=/none",), ("--nll",)),
    ("export", ("--model_dir=/none",), ("--model_dir", "/none")),
    ("export_openai", ("--model_dir=/none", "--output=a.pt"), ("--model_dir", "/none")),
    ("import_openai", ("--checkpoint=/none.pt", "--model_dir=/none"), ("--image_size",)),
    ("reference_stats", ("--dataset=folder", "--output=a.npz"), ("--data_dir", "nothing")),
    ("prepare_data", ("--dataset=folder", "--output_dir=/none"), ("--data_dir", "nothing")),
    ("serve", ("--models_dir=/none",), ("--models_dir", "/none")),
    ("client", ("--model=m", "--output_dir=/none"), ("--address",)),
    ("reproduce", ("--scale=small", "--output_dir=/none", "--data_dir=/none"), ("--data_dir",)),
  ],
)
def test_wrong_flags_are_reported_before_tensorflow_loads(run, monkeypatch, command, flags, words):
  def load_tensorflow():
    raise AssertionError("TensorFlow was to be loaded")

  monkeypatch.setattr(command_lib, "load_tensorflow", load_tensorflow)
  if command == "train":
    flags = (*flags, "--model_dir=/none")
  assert_refused(run(command, *flags), *words)


def texts_of_commands():
  """Yields each command and each of its flags whose value is a text, but for addresses."""
  for name in listing.commands():
    command = importlib.import_module(f"trainers.{name}").COMMAND
    for field in command._flags().values():
      is_text = arguments.kind_of(field) is str and not settings.choices_of(field)
      if is_text and not field.metadata.get("remote"):
        yield name, field.name


@pytest.mark.parametrize("command, name", list(texts_of_commands()))
def test_remote_storage_is_refused_before_tensorflow_loads(
  run, tmp_path, monkeypatch, command, name
):
  monkeypatch.setattr(command_lib, "load_tensorflow", None)
  monkeypatch.chdir(tmp_path)
  for address in ("gs://bucket/run", "s3://bucket/run", "hdfs:/run"):
    result = run(command, f"--{name}={address}")
    message = f"--{name}: expected a path on this machine, received the address '{address}'"
    assert_refused(result, message)
  assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
  "command, flags, name",
  [
    ("sample", (), "output_dir"),
    ("evaluate", ("--nll", "--num_examples=2"), "output_dir"),
    ("evaluate", ("--fid", "--num_samples=70"), "output_dir"),
    ("train", ("--train_steps=20",), "model_dir"),
    ("export", ("--output_dir={folder}/saved",), "output_dir"),
  ],
)
def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
  run, model_dir, read_only, monkeypatch, command, flags, name
):
  def work(*_, **__):
    raise AssertionError("the work has begun")

  for module, function in ((seeds, "make_inputs"), (full_sum, "FullSum"), (run_lib.Run, "run")):
    monkeypatch.setattr(module, function, work)
  before = sorted(model_dir.rglob("*"))
  read_only(model_dir)
  flags = [flag.format(folder=model_dir) for flag in flags]
  result = run(command, f"--model_dir={model_dir}", *flags)
  assert_refused(result, f"{command}: --{name}: expected a folder that can be written, received")
  assert "(Read-only file system)" in result.err and str(model_dir) in result.err
  assert sorted(model_dir.rglob("*")) == before


def test_missing_data_is_reported_with_how_to_get_it(run, tmp_path):
  result = run(
    "train",
    "--flagfile=configs/cifar10.flags",
    f"--model_dir={tmp_path / 'run'}",
    f"--data_dir={tmp_path}",
    "--nodownload",
  )
  assert_refused(result, "cifar10", str(tmp_path), "tfds build")
  assert not (tmp_path / "run").exists()


def test_conditioning_on_classes_requires_two_of_them(run, tmp_path):
  for name in ("a", "b"):
    (tmp_path / f"data/{name}").mkdir(parents=True)
  for i in range(8):
    pictures.write_png(tmp_path / f"data/a/{i}.png", np.zeros([8, 8, 3], np.uint8))
  result = run(
    "train",
    *conftest.SMALL,
    "--dataset=folder",
    f"--data_dir={tmp_path}/data",
    f"--model_dir={tmp_path / 'run'}",
  )
  assert_refused(result, "--class_conditional", "two or more")
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
  "flags, words",
  [
    (("--dataset=photos", "--image_size=8"), ("8x8x3", "8x8x1")),
    (("--image_size=4",), ("4x4x1", "8x8x1")),
  ],
)
@pytest.mark.parametrize("command", ("train", "evaluate"))
def test_data_of_another_shape_than_the_model(run, model_dir, tmp_path, command, flags, words):
  folder = tmp_path / "copy"
  shutil.copytree(model_dir, folder)
  config = folder / "config.json"
  content = json.loads(config.read_text())
  for flag in flags:
    name, value = flag.removeprefix("--").split("=")
    content["data"][name] = int(value) if value.isdigit() else value
  config.write_text(json.dumps(content))
  own = ("--train_steps=20",) if command == "train" else ("--nll",)
  assert_refused(run(command, f"--model_dir={folder}", *own), "--dataset", *words)


def test_a_foreign_folder_is_left_alone(run, tmp_path):
  (tmp_path / "thesis.txt").write_text("mine")
  assert_refused(
    run("train", *conftest.SMALL, f"--model_dir={tmp_path}"), "--model_dir", str(tmp_path)
  )
  assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_unwritable_folder(run, tmp_path):
  (tmp_path / "file").write_text("")
  assert_refused(
    run("train", *conftest.SMALL, f"--model_dir={tmp_path}/file/run"), "--model_dir", "file/run"
  )


@pytest.mark.parametrize("content", ("", "{", "[]", '{"version": 1}', '{"version": 99}'))
def test_a_broken_configuration(run, tmp_path, content):
  (tmp_path / "config.json").write_text(content)
  assert_refused(run("sample", f"--model_dir={tmp_path}"), "config.json")


@pytest.mark.parametrize("command", ("train", "sample"))
@pytest.mark.parametrize("suffix", ("index", "data-00000-of-00001"))
def test_a_truncated_checkpoint(run, tmp_path, model_dir, command, suffix):
  folder = tmp_path / "copy"
  shutil.copytree(model_dir, folder)
  path = folder / f"checkpoints/step-10.{suffix}"
  path.write_bytes(path.read_bytes()[:100])
  flags = ("--train_steps=20",) if command == "train" else ()
  assert_refused(run(command, f"--model_dir={folder}", *flags), "step-10")
  assert not list(folder.glob("checkpoints/step-2*"))


@pytest.mark.parametrize("pattern", ("step-*", "step-10.index", "step-10.data*"))
def test_a_run_does_not_start_again_when_files_are_lost(run, tmp_path, model_dir, pattern):
  folder = tmp_path / "copy"
  shutil.copytree(model_dir, folder)
  for path in (folder / "checkpoints").glob(pattern):
    path.unlink()
  assert_refused(run("train", f"--model_dir={folder}", "--train_steps=20"), "checkpoints")


def test_a_list_of_checkpoints_that_is_not_text_does_not_matter(run, tmp_path, model_dir):
  folder = tmp_path / "copy"
  shutil.copytree(model_dir, folder)
  (folder / "checkpoints/checkpoint").write_bytes(b"\xff\xfe")
  result = run("sample", f"--model_dir={folder}", "--samplers=ddim:1", "--num_samples=1")
  assert result.status == 0 and "step 10" in result.out


def test_a_checkpoint_survives_a_kill_before_the_list_is_written(run, tmp_path, model_dir):
  folder = tmp_path / "copy"
  shutil.copytree(model_dir, folder)
  (folder / "checkpoints/checkpoint").unlink()
  result = run("sample", f"--model_dir={folder}", "--samplers=ddim:1", "--num_samples=1")
  assert result.status == 0 and "step 10" in result.out


def test_a_kill_while_the_configuration_is_written_leaves_a_new_folder(tmp_path):
  (tmp_path / ".77-config.json").write_text("{")
  assert model_dir_lib.ModelDir(tmp_path).read_config() is None


@pytest.mark.parametrize(
  "flags, status, lines",
  [(("--samplers=ddim:5", "--num_samples=2"), 0, 7), (("--base_channels=64",), 2, 1)],
)
def test_the_error_stream_holds_one_line(model_dir, tmp_path, flags, status, lines):
  """In a process of its own, in which TensorFlow may print what it likes."""
  process = subprocess.run(
    [
      sys.executable,
      "-m",
      "trainers.sample",
      f"--model_dir={model_dir}",
      f"--output_dir={tmp_path}",
      *flags,
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert process.returncode == status
  # A progress bar redraws itself a few times.
  assert len([line for line in process.stderr.splitlines() if line]) <= lines, process.stderr
  assert "WARNING" not in process.stderr and "Traceback" not in process.stderr


@pytest.mark.parametrize(
  "command, flags, words",
  [
    ("sample", ("--labels=0,10",), ("--labels", "0 to 9", "10")),
    ("sample", ("--labels=-1",), ("--labels", "-1")),
    ("sample", ("--ema=0.7",), ("--ema", "0.9", "0.7")),
    ("sample", ("--num_samples=0",), ("--num_samples", "0")),
    ("sample", ("--samplers=ddim:5:2",), ("--samplers", "[0, 1]", "2")),
    ("sample", ("--samplers=ddim:5,ddim:5",), ("--samplers", "once")),
    ("sample", ("--seed=9223372036854775808",), ("--seed", "9223372036854775808")),
    ("evaluate", ("--nll", "--seed=2147483648"), ("--seed", "2147483648")),
    ("sample", ("--base_channels=64",), ("--base_channels", "32", "64")),
    ("evaluate", (), ("--nll",)),
    ("evaluate", ("--nll", "--num_examples=361"), ("--num_examples", "360", "361")),
    ("evaluate", ("--nll", "--nll_steps=26"), ("--nll_steps", "25", "26")),
    ("evaluate", ("--nll", "--nll_stderr=0"), ("--nll_stderr", "at least 1e-06", "0.0")),
    ("evaluate", ("--nll", "--nll_stderr=nan"), ("--nll_stderr", "at least 1e-06", "nan")),
    ("evaluate", ("--nll", "--nll_stderr=little"), ("--nll_stderr", "little")),
    ("evaluate", ("--nll", "--nll_stderr=0.1", "--nll_steps=5"), ("--nll_stderr", "nll_steps")),
    ("evaluate", ("--fid", "--nll_stderr=0.1"), ("--nll_stderr", "nll")),
    ("export", ("--version=-1",), ("--version", "-1")),
  ],
)
def test_commands_refuse(run, tmp_path, model_dir, command, flags, words):
  output = tmp_path / "out"
  assert_refused(run(command, f"--model_dir={model_dir}", f"--output_dir={output}", *flags), *words)
  assert not output.exists() or not any(output.iterdir())


@pytest.mark.parametrize("command", ("sample", "evaluate", "export"))
def test_commands_need_a_trained_model(run, tmp_path, command):
  flags = ("--nll",) if command == "evaluate" else ("--num_samples=5",)
  assert_refused(run(command, *flags), "--model_dir")
  assert_refused(run(command, f"--model_dir={tmp_path / 'none'}", *flags), "does not exist")
