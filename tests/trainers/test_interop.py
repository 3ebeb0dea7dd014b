"""Tests of the commands that import and export models of the authors' code."""

import dataclasses
import json
import os
import pickle
import sys

import numpy as np
import pytest

from iddpm_tf import networks
from iddpm_tf.diffusion.samplers import base as samplers
from iddpm_tf.interop import openai
from iddpm_tf.interop import state_dicts
from iddpm_tf.models import classifier as classifier_lib
from iddpm_tf.models import image_sampler
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.models import trained_model
from tests import small_model
from tests.interop import checkpoints
from tests.parity import conftest as golden_lib
from tests.parity import test_unet
from tests.trainers.test_bad_input import assert_refused

torch = pytest.importorskip("torch")

TINY = checkpoints.TINY
FLAGS = tuple(
  f"--{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
  for name, value in checkpoints.SETTINGS.items()
)


def pytest_generate_tests(metafunc):
  for name in {"torch_file", "classifier_torch_file"} & set(metafunc.fixturenames):
    files = sorted(golden_lib.golden_dir(metafunc.config).glob(golden_lib.PATTERNS[name]))
    metafunc.parametrize(name, files, ids=[path.name for path in files])


def golden_flags(golden):
  """Returns the flags of a golden network."""
  config, height = json.loads(str(golden["config"])), golden["x"].shape[1]

  def joined(values):
    return ",".join(map(str, values))

  learned = config["out_channels"] == 2 * config["in_channels"]
  low_res = golden["low_res"].shape[1] if config["super_res"] else 0
  values = {
    "image_size": height,
    "base_channels": config["model_channels"],
    "channel_multipliers": joined(config["channel_mult"]),
    "num_res_blocks": config["num_res_blocks"],
    "attention_resolutions": joined(height // factor for factor in config["attention_resolutions"]),
    "num_heads": config["num_heads"],
    "num_heads_upsample": max(0, config.get("num_heads_upsample") or 0),
    "scale_shift_norm": config["use_scale_shift_norm"],
    "conv_resample": config.get("conv_resample", True),
    **test_unet.later_options(config),
    "class_conditional": config["num_classes"] is not None,
    "low_res_size": low_res,
    "diffusion_steps": 100,
    "samplers": "ddim:2",
    "num_samples": 2,
    "ema": "0.9999,0.5",
  }
  return [
    *(f"--{name}={value}" for name, value in values.items()),
    *([] if learned else ["--objective=simple", "--variance_type=fixed_large"]),
  ]


@pytest.fixture(name="checkpoint")
def fixture_checkpoint(tmp_path):
  """A file of a small network, named as the authors' training names it."""
  path = tmp_path / "model000700.pt"
  state_dicts.write_state_dict(path, checkpoints.random_weights(TINY.shapes()))
  return path


def read_config(folder):
  return model_dir_lib.ModelDir(folder).require_config()


def load_state_dict(folder, ema):
  """Returns the weights of a model folder by the authors' names."""
  folder = model_dir_lib.ModelDir(folder)
  return openai.to_state_dict(trained_model.load(folder, folder.require_config(), ema=ema).network)


def test_an_imported_model_has_the_authors_outputs_and_draws_images(run, tmp_path, torch_file):
  """The commands import .pt and .safetensors files. The images are those of the same weights."""
  golden = np.load(torch_file.with_suffix(".npz"))
  weights = test_unet.golden_weights(json.loads(str(golden["param_shapes"])))
  path = tmp_path / "ema_0.9999_000500.safetensors"
  state_dicts.write_state_dict(path, weights)
  flags, folders = golden_flags(golden), {}
  for checkpoint in (torch_file, path):
    folders[checkpoint] = tmp_path / checkpoint.suffix[1:]
    result = run(
      "import_openai", f"--checkpoint={checkpoint}", f"--model_dir={folders[checkpoint]}", *flags
    )
    assert result.status == 0 and not result.err, result.err
    assert f"{golden['param_count']:,} parameters" in result.out
  config = read_config(folders[path])
  assert dataclasses.asdict(config) == dataclasses.asdict(read_config(folders[torch_file]))
  network = networks.build_network(config)
  openai.load_state_dict(network, weights)
  np.testing.assert_allclose(test_unet.output(network, golden), golden["out"], rtol=0, atol=2e-4)
  for folder, ema in zip(folders.values(), (config.training.ema[0], 0), strict=True):
    loaded = load_state_dict(folder, ema)
    assert all(loaded[name].tobytes() == array.tobytes() for name, array in weights.items())
  if not config.low_res_shape:  # A super-resolution model alone draws no images.
    # Drawing takes seconds. The other folder has the same weights and the same configuration.
    assert_same_images(run, folders[torch_file], config, network)


def assert_same_images(run, folder, config, network):
  (sampler,) = map(samplers.parse, config.sampling.samplers)
  seeds = np.arange(2, dtype=np.int64)
  labels = [np.arange(2, dtype=np.int32) % config.num_classes] if config.num_classes else []
  expected = image_sampler.ImageSampler(config, network, sampler).draw(seeds, *labels).numpy()
  assert len(np.unique(expected)) > 20  # The images are not constant.
  assert run("sample", f"--model_dir={folder}").status == 0
  (path,) = (folder / "samples").glob("*.npz")
  np.testing.assert_array_equal(np.load(path)["arr_0"], expected)


@pytest.mark.parametrize(
  "suffix, changes, flags",
  [
    (".safetensors", {}, ()),
    (".pt", {"num_classes": 5, "image_channels": 3}, ("--class_conditional",)),
    (".pt", {"enlarges": True, "num_classes": 2}, ("--low_res_size=4", "--class_conditional")),
    (
      ".safetensors",
      {"learns_variance": False, "scale_shift_norm": False, "enlarges": True},
      (
        "--objective=simple",
        "--variance_type=fixed_small",
        "--noscale_shift_norm",
        "--low_res_size=2",
      ),
    ),
    (
      ".pt",
      {"channel_multipliers": (1, 2), "attention_levels": frozenset({1}), "conv_resample": False},
      ("--channel_multipliers=1,2", "--attention_resolutions=4", "--noconv_resample"),
    ),
    (
      ".pt",
      {
        "base_channels": 64,
        "channel_multipliers": (0.5, 1),
        "attention_levels": frozenset({1}),
        "resblock_updown": True,
        "scaled_first_conv": True,
      },
      (
        "--base_channels=64",
        "--channel_multipliers=0.5,1",
        "--attention_resolutions=4",
        "--resblock_updown",
        "--scaled_first_conv",
        "--attention_order=split",
        "--num_head_channels=32",
      ),
    ),
  ],
  ids=(
    "unconditional",
    "classes",
    "super_resolution",
    "fixed_variance",
    "two_levels",
    "second_code",
  ),
)
def test_an_import_and_an_export_keep_every_byte(run, tmp_path, suffix, changes, flags):
  first, second = tmp_path / f"model000700{suffix}", tmp_path / "back" / f"model000700{suffix}"
  state_dicts.write_state_dict(
    first, checkpoints.random_weights(dataclasses.replace(TINY, **changes).shapes())
  )
  folder = tmp_path / "run"
  result = run("import_openai", f"--checkpoint={first}", f"--model_dir={folder}", *FLAGS, *flags)
  assert result.status == 0 and "step 700\n" in result.out, result.err
  ema = () if suffix == ".pt" else ("--ema=0",)
  assert run("export_openai", f"--model_dir={folder}", f"--output={second}", *ema).status == 0
  assert second.read_bytes() == first.read_bytes()
  assert sorted(path.name for path in tmp_path.iterdir()) == ["back", first.name, "run"]


def test_a_classifier_has_the_authors_outputs_and_keeps_every_byte(
  run, tmp_path, classifier_torch_file
):
  golden = np.load(classifier_torch_file.with_suffix(".npz"))
  config, height = json.loads(str(golden["config"])), golden["x"].shape[1]
  heights = (height // factor for factor in config["attention_resolutions"])
  settings = {
    "pool": config.get("pool", "adaptive"),
    "image_size": height,
    "base_channels": config["model_channels"],
    "channel_multipliers": tuple(config["channel_mult"]),
    "num_res_blocks": config["num_res_blocks"],
    "attention_resolutions": tuple(heights),
    "num_heads": config.get("num_heads", 1),
    "scale_shift_norm": config.get("use_scale_shift_norm", False),
    "conv_resample": config.get("conv_resample", True),
    **test_unet.later_options(config),
    "ema": (),
  }
  folder, output = tmp_path / "run", tmp_path / "x.pt"
  result = run(
    "import_openai",
    f"--checkpoint={classifier_torch_file}",
    f"--model_dir={folder}",
    *small_model.flags(**settings),
  )
  assert result.status == 0 and f"{golden['param_count']:,} parameters" in result.out, result.err
  assert f"{config['out_channels']} classes\n" in result.out
  classifier = classifier_lib.load_classifier(folder)
  logits = golden["logits"].astype(np.float64)
  log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
  np.testing.assert_allclose(
    classifier.log_prob(golden["x"], golden["t"], golden["y"]),
    log_probs[np.arange(len(logits)), golden["y"]],
    atol=4e-4,
  )
  result = run("export_openai", f"--model_dir={folder}", f"--output={output}")
  assert result.status == 0 and f"parameters of {folder}, step 0" in result.out
  first, second = (torch.load(path, weights_only=True) for path in (classifier_torch_file, output))
  assert list(first) == list(second)
  assert all(first[name].numpy().tobytes() == second[name].numpy().tobytes() for name in first)
  assert_refused(
    run("export_openai", f"--model_dir={folder}", "--output=y.pt", "--ema=0.5"), "--ema"
  )


@pytest.mark.parametrize("ema", (0, 0.5))
def test_a_model_trained_here_survives_an_export_and_an_import(run, tmp_path, model_dir, ema):
  first, second = tmp_path / "model000010.pt", tmp_path / "back" / "model000010.pt"
  assert (
    run("export_openai", f"--model_dir={model_dir}", f"--output={first}", f"--ema={ema}").status
    == 0
  )
  flags = (*small_model.FLAGS, "--image_size=8", f"--model_dir={tmp_path / 'run'}")
  assert run("import_openai", f"--checkpoint={first}", *flags).status == 0
  assert run("export_openai", f"--model_dir={tmp_path / 'run'}", f"--output={second}").status == 0
  assert second.read_bytes() == first.read_bytes()
  trained = load_state_dict(model_dir, ema)
  assert all(
    tensor.numpy().tobytes() == trained[name].tobytes()
    for name, tensor in torch.load(second, weights_only=True).items()
  )


def test_training_continues_from_an_imported_model(run, tmp_path):
  """The data has classes, which an unconditional model ignores."""
  checkpoint, folder = tmp_path / "model.pt", tmp_path / "run"
  weights = checkpoints.random_weights(TINY.shapes())
  state_dicts.write_state_dict(checkpoint, weights)
  result = run(
    "import_openai",
    f"--checkpoint={checkpoint}",
    f"--model_dir={folder}",
    "--step=1000",
    *small_model.FLAGS,
    "--noclass_conditional",
    "--image_size=8",
    "--learning_rate=1e-5",
    "--train_steps=1002",
  )
  assert result.status == 0 and "no classes\n" in result.out and "step 1000\n" in result.out, (
    result.err
  )
  result = run("train", f"--model_dir={folder}", "--num_samples=1")
  assert result.status == 0 and "resuming" in result.out and "at step 1000 of 1002" in result.out, (
    result.err
  )
  trained = load_state_dict(folder, 0)
  moved = max(np.abs(trained[name] - array).max() for name, array in weights.items())
  # Each of Adam's first steps is about the learning rate. With a wrong correction of the moments'
  # bias, it would be 3 and 4.3 times as large.
  assert 0.5e-5 < moved < 2.5e-5


def test_the_step_flag_takes_precedence_over_the_name(run, tmp_path, checkpoint):
  folder = tmp_path / "run"
  flags = (f"--checkpoint={checkpoint}", f"--model_dir={folder}", "--step=3")
  assert "step 3\n" in run("import_openai", *flags, *FLAGS).out
  assert json.loads((folder / "imported.json").read_text()) == {
    "checkpoint": checkpoint.name,
    "step": 3,
  }
  assert (folder / "checkpoints/step-3.index").exists()


def test_an_unknown_step_is_noted(run, tmp_path, checkpoint):
  path = checkpoint.rename(tmp_path / "mine.pt")
  (tmp_path / "run").mkdir()  # An empty folder is accepted.
  result = run("import_openai", f"--checkpoint={path}", f"--model_dir={tmp_path / 'run'}", *FLAGS)
  assert result.status == 0 and "step 0" in result.out and "--step" in result.out
  # The averages are the file's weights, so there is no note about young averages.
  exported = run("export_openai", f"--model_dir={tmp_path / 'run'}", f"--output={tmp_path}/x.pt")
  assert exported.status == 0 and "note:" not in exported.out


class Malicious:
  """An object whose pickle makes a file."""

  def __init__(self, path):
    self._path = path

  def __reduce__(self):
    return os.system, (f"touch {self._path}",)


def save_with(name, value):
  """Returns a function that writes weights, one of which has another value."""

  def save(path, weights):
    weights[name].flat[-1] = value
    state_dicts.write_state_dict(path, weights)

  return save


@pytest.mark.parametrize(
  "name, save, words",
  [
    (
      "opt000700.pt",
      lambda path, _: torch.save({"state": {}, "param_groups": []}, path),
      ("model*.pt or ema_*.pt",),
    ),
    ("m.pt", lambda path, _: torch.save(torch.zeros(3), path), ("a Tensor",)),
    ("m.pt", lambda path, _: torch.save([], path), ("a list",)),
    ("m.pt", lambda path, _: torch.save({}, path), ("a UNet of the authors",)),
    ("m.pt", lambda path, _: torch.save({1: torch.zeros(3)}, path), ("keys are not all names",)),
    (
      "m.pt",
      lambda path, weights: state_dicts.write_state_dict(
        path, weights | {"input_blocks.99999999999.0.op.bias": np.zeros(1, np.float32)}
      ),
      ("99999999999",),
    ),
    (
      "m.pt",
      lambda path, _: torch.save(torch.nn.Linear(1, 1), path),
      ("torch.nn.modules.linear.Linear",),
    ),
    (
      "m.pt",
      lambda path, _: torch.save({"x": Malicious(path.with_name("was_run"))}, path),
      ("system", "nothing in it was executed"),
    ),
    (
      "m.pt",
      lambda path, _: path.write_bytes(pickle.dumps({"x": Malicious(path.with_name("was_run"))})),
      ("nothing in it was executed",),
    ),
    ("m.pt", lambda path, _: path.touch(), ("an empty file",)),
    ("m.pt", lambda path, _: path.write_text("some\ntext"), ("damaged",)),
    ("m.safetensors", lambda path, _: path.write_text("some\ntext"), ("damaged",)),
    ("m.ckpt", lambda path, _: path.touch(), (".pt or .safetensors", "m.ckpt")),
    ("m.pt", lambda path, _: None, ("does not exist",)),
    ("m.pt", lambda path, _: path.mkdir(), ("is a folder",)),
    (
      "m.pt",
      save_with("out.0.bias", np.nan),
      ("finite", "out.0.bias"),
    ),
    (
      "m.safetensors",
      save_with("input_blocks.0.0.bias", np.inf),
      ("finite", "input_blocks.0.0.bias"),
    ),
    (
      "m.safetensors",
      lambda path, weights: state_dicts.write_state_dict(
        path, {name: array for name, array in weights.items() if name != "out.0.bias"}
      ),
      ("expected out.0.bias of shape (32,), received no such parameter",),
    ),
  ],
)
def test_files_that_are_refused(run, tmp_path, name, save, words):
  path, folder = tmp_path / "files" / name, tmp_path / "run"
  path.parent.mkdir()
  save(path, checkpoints.random_weights(TINY.shapes()))
  assert_refused(
    run("import_openai", f"--checkpoint={path}", f"--model_dir={folder}", *FLAGS), name, *words
  )
  assert [path.name for path in tmp_path.iterdir()] == ["files"]
  assert not (path.parent / "was_run").exists()


@pytest.mark.parametrize(
  "flags, words",
  [
    (("--image_size=0",), ("--image_size", "0")),
    (("--model_dir=",), ("--model_dir",)),
    (("--step=-1",), ("--step", "-1")),
    (("--checkpoint=",), ("--checkpoint",)),
    (
      ("--base_channels=64",),
      ("time_embed.0.weight", "(256, 64)", "(128, 32)", "base_channels is 32 in the checkpoint"),
    ),
    (
      ("--base_channels=64", "--num_res_blocks=2", "--class_conditional", "--noscale_shift_norm"),
      (
        "time_embed.0.weight",
        "4 settings differ",
        "base_channels is 32 in the checkpoint and 64 in the configuration",
        "class_conditional is False in the checkpoint and True in the configuration",
        "num_res_blocks is 1 in the checkpoint and 2 in the configuration",
        "scale_shift_norm is True in the checkpoint and False in the configuration",
      ),
    ),
    (
      ("--channel_multipliers=1,2",),
      ("input_blocks.2.0.op.weight", "channel_multipliers is 1 in the checkpoint and 1,2 in"),
    ),
    (
      ("--class_conditional",),
      ("label_emb.weight", "class_conditional is False in the checkpoint"),
    ),
    (("--low_res_size=4",), ("input_blocks.0.0.weight", "low_res_size is 0 in the checkpoint")),
    (
      ("--attention_resolutions=8",),
      ("input_blocks.1.1.norm.weight", "attention_resolutions is none"),
    ),
    (
      ("--objective=simple", "--variance_type=fixed_small"),
      ("out.2.weight", "variance_type is learned or learned_range", "objective is hybrid or vlb"),
    ),
    (("--samplers=ddim:24",), ("ddim24", "25")),
    (("--model_dir=/proc/none/run",), ("--model_dir", "/proc/none/run")),
  ],
)
def test_flags_that_are_refused(run, tmp_path, checkpoint, flags, words):
  own = (f"--checkpoint={checkpoint}", f"--model_dir={tmp_path / 'run'}")
  assert_refused(run("import_openai", *own, *FLAGS, *flags), *words)
  assert list(tmp_path.iterdir()) == [checkpoint]


def test_a_folder_that_is_not_empty_is_refused(run, tmp_path, checkpoint):
  folder = tmp_path / "run"
  folder.mkdir()
  (folder / "thesis.txt").write_text("mine")
  for path in (folder, folder / "thesis.txt"):
    assert_refused(
      run("import_openai", f"--checkpoint={checkpoint}", f"--model_dir={path}", *FLAGS),
      "--model_dir",
      "thesis.txt",
    )
  assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_a_failure_to_write_the_folder_leaves_nothing(run, tmp_path, checkpoint, monkeypatch):
  def fail(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(model_dir_lib.ModelDir, "write_config", fail)
  flags = (f"--checkpoint={checkpoint}", f"--model_dir={tmp_path / 'run'}", *FLAGS)
  assert_refused(run("import_openai", *flags), "--model_dir", "No space left")
  assert list(tmp_path.iterdir()) == [checkpoint]


def test_without_pytorch(run, tmp_path, checkpoint, model_dir, monkeypatch):
  monkeypatch.setitem(sys.modules, "torch", None)
  flags = (f"--checkpoint={checkpoint}", f"--model_dir={tmp_path / 'run'}", *FLAGS)
  assert_refused(run("import_openai", *flags), checkpoint.name, "pip install")
  assert_refused(
    run("export_openai", f"--model_dir={model_dir}", f"--output={tmp_path / 'x.pt'}"),
    "x.pt",
    "pip install",
  )
  assert list(tmp_path.iterdir()) == [checkpoint]
  path = tmp_path / "x.safetensors"
  assert run("export_openai", f"--model_dir={model_dir}", f"--output={path}").status == 0
  assert (
    run(
      "import_openai",
      f"--checkpoint={path}",
      f"--model_dir={tmp_path / 'run'}",
      *small_model.FLAGS,
      "--image_size=8",
    ).status
    == 0
  )


@pytest.mark.parametrize(
  "output, flags, words",
  [
    ("x.pt", ("--ema=0.7",), ("--ema", "0.9, 0.5, 0", "0.7")),
    ("x.pkl", (), ("--output", ".pt or .safetensors", "x.pkl")),
    ("", (), ("--output",)),
    ("/proc/none/x.pt", (), ("--output", "/proc/none")),
    ("/proc/none/x.safetensors", (), ("--output", "/proc/none")),
  ],
)
def test_exports_that_are_refused(run, tmp_path, model_dir, output, flags, words):
  output = output and tmp_path / output
  assert_refused(
    run("export_openai", f"--model_dir={model_dir}", f"--output={output}", *flags), *words
  )
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ("x.pt", "x.safetensors"))
def test_an_export_overwrites_nothing(run, tmp_path, model_dir, name):
  (tmp_path / name).write_text("mine")
  result = run("export_openai", f"--model_dir={model_dir}", f"--output={tmp_path / name}")
  assert_refused(result, name, "exists")
  assert (tmp_path / name).read_text() == "mine" and len(list(tmp_path.iterdir())) == 1
