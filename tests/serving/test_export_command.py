"""`trainers.export`: what it writes and what it refuses."""

import json
import os
import signal

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.models import trained_model
from tests.serving import conftest
from trainers import export


@pytest.fixture(name="run")
def fixture_run(model_dir, capfd):
  """Runs the command, and returns its status, its output and its errors."""

  def run(*flags, model_dir=model_dir):
    capfd.readouterr()
    status = export.COMMAND.run(["export", f"--model_dir={model_dir}", *map(str, flags)])
    return status, *capfd.readouterr()

  return run


def test_the_version_tells_where_it_is_from_and_draws_nearly_the_same(run, drawn, tmp_path):
  """The network is computed in bfloat16."""
  flags = ("--name=small", "--samplers=ddim:5", "--nopng", "--warmup=", "--verify")
  status, out, _ = run(f"--output_dir={tmp_path}", "--compute=mixed_bfloat16", *flags)
  assert status == 0 and f"wrote {tmp_path}/small/1" in out
  extra = tmp_path / "small/1/assets.extra"
  made_from = json.loads((extra / "made_from.json").read_text())
  assert made_from["training_step"] == 10 and made_from["ema"] == 0.9 and made_from["version"]
  assert made_from["compute"] == "mixed_bfloat16"
  assert json.loads((extra / "config.json").read_text())["data"]["num_classes"] == 10
  signatures = tf.saved_model.load(tmp_path / "small/1").signatures
  assert set(signatures) == {"serving_default", "ddim_5", "ddim_5_progress", "class_names"}
  assert (tmp_path / "models.config").exists() and (tmp_path / "SERVING.md").exists()
  inputs = {name: tf.constant(array) for name, array in conftest.INPUTS.items()}
  images = signatures["ddim_5"](**inputs)["image"].numpy()
  assert 0 < np.abs(images.astype(int) - drawn["ddim_5"]).mean() < 4


def test_a_model_that_diverged_is_refused(run, tmp_path, monkeypatch):
  load = trained_model.load

  def load_diverged(*arguments, **options):
    model = load(*arguments, **options)
    kernel = model.network.trainable_variables[3]
    kernel.assign(kernel * np.nan)
    return model

  monkeypatch.setattr(trained_model, "load", load_diverged)
  status, _, error = run(f"--output_dir={tmp_path / 'saved'}")
  assert status == 2 and "weights: expected finite numbers" in error
  assert not list(tmp_path.rglob("saved_model.pb"))


def test_a_stopped_export_leaves_nothing(run, tmp_path, monkeypatch):
  monkeypatch.setattr(tf.saved_model, "save", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
  status, out, error = run(f"--output_dir={tmp_path}", "--samplers=ddim:2")
  assert status == 143 and "stopped by SIGTERM" in out + error
  assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("text", ["{", "model_platform_configs { }", "custom_model_config { }"])
def test_a_models_config_that_takes_no_model_is_refused_first(run, tmp_path, text):
  (tmp_path / "models.config").write_text(text)
  status, _, error = run(f"--output_dir={tmp_path}")
  assert status == 2 and len(error.splitlines()) == 1
  assert "models.config: expected" in error
  assert [path.name for path in tmp_path.iterdir()] == ["models.config"]


@pytest.mark.parametrize(
  "flags, message",
  [
    (("--name=../up",), "--name: expected at most 100 letters"),
    (("--name=",), "--name: expected"),
    (("--name=models.config",), "--name: expected a name other than"),
    (("--warmup=65",), "--warmup"),
    (("--version=9223372036854775808",), "--version: expected whole numbers of at most 64 bits"),
    (("--output_dir=",), "--output_dir: expected"),
    ((f"--name={'n' * 101}",), "--name: expected at most 100"),
    (("--name=a b",), "--name: expected at most"),
    (("--trajectory=1",), "--trajectory: expected 0 or at least 2 frames"),
    (("--warmup=0",), "--warmup"),
    (("--compute=float16",), "--compute"),
    (("--samplers=ddim:99",), "--samplers"),
  ],
)
def test_wrong_flags_are_refused_in_one_line(run, tmp_path, flags, message):
  status, _, error = run(f"--output_dir={tmp_path / 'saved'}", *flags)
  assert status == 2 and len(error.splitlines()) == 1 and message in error
  assert not (tmp_path / "saved").exists()


def test_a_file_in_place_of_the_folder_is_refused(run, tmp_path):
  (tmp_path / "small").touch()
  status, _, error = run(f"--output_dir={tmp_path}", "--name=small")
  assert status == 2 and error.startswith("export: --output_dir: expected a folder")


def test_a_model_without_a_checkpoint_is_refused(run, model_dir, tmp_path):
  folder = tmp_path / "untrained"
  folder.mkdir()
  (folder / "config.json").write_text((model_dir / "config.json").read_text())
  status, _, error = run(f"--output_dir={tmp_path / 'saved'}", model_dir=folder)
  assert status == 2 and len(error.splitlines()) == 1
  assert not list(tmp_path.rglob("saved_model.pb"))
