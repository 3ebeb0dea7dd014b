"""Models of the authors' code as model folders, and back: through the command line, number for number."""

import dataclasses
import json
import os
import pickle
import sys

import numpy as np
import pytest

from iddpm_tf import interop
from iddpm_tf import networks
from iddpm_tf.diffusion import samplers
from iddpm_tf.interop import architecture
from iddpm_tf.models import image_sampler
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.models import trained_model
from tests.parity import conftest as golden_lib
from tests.parity import test_unet
from tests.trainers import conftest
from tests.trainers.test_bad_input import assert_refused

torch = pytest.importorskip("torch")

# With `architecture.Architecture` of these settings.
TINY = architecture.Architecture(
  base_channels=32,
  num_classes=0,
  enlarges=False,
  channel_multipliers=(1,),
  num_res_blocks=1,
  attention_levels=frozenset(),
  scale_shift_norm=True,
  conv_resample=True,
  learns_variance=True,
  image_channels=1,
)
FLAGS = (
  "--image_size=8",
  "--base_channels=32",
  "--channel_multipliers=1",
  "--num_res_blocks=1",
  "--attention_resolutions=",
  "--diffusion_steps=25",
  "--samplers=ddim:2",
  "--ema=0.9999,0.5",
)


def pytest_generate_tests(metafunc):
  if "torch_file" in metafunc.fixturenames:
    files = sorted(golden_lib.golden_dir(metafunc.config).glob(golden_lib.PATTERNS["torch_file"]))
    metafunc.parametrize("torch_file", files, ids=[path.name for path in files])


def golden_flags(golden):
  """The flags of a golden network."""
  config, height = json.loads(str(golden["config"])), golden["x"].shape[1]

  def several(values):
    return ",".join(map(str, values))

  learned = config["out_channels"] == 2 * config["in_channels"]
  low_res = golden["low_res"].shape[1] if config["super_res"] else 0
  settings = {
    "image_size": height,
    "base_channels": config["model_channels"],
    "channel_multipliers": several(config["channel_mult"]),
    "num_res_blocks": config["num_res_blocks"],
    "attention_resolutions": several(
      height // factor for factor in config["attention_resolutions"]
    ),
    "num_heads": config["num_heads"],
    "num_heads_upsample": max(0, config.get("num_heads_upsample") or 0),
    "scale_shift_norm": config["use_scale_shift_norm"],
    "conv_resample": config.get("conv_resample", True),
    "class_conditional": config["num_classes"] is not None,
    "low_res_size": low_res,
    "diffusion_steps": 100,
    "samplers": "ddim:2",
    "num_samples": 2,
    "ema": "0.9999,0.5",
  }
  return [
    *(f"--{name}={value}" for name, value in settings.items()),
    *([] if learned else ["--objective=simple", "--variance_type=fixed_large"]),
  ]


def random_weights(shapes):
  rng = np.random.default_rng(0)
  return {
    name: (0.1 * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()
  }


@pytest.fixture(name="checkpoint")
def fixture_checkpoint(tmp_path):
  """A small network of the authors, as their training names it."""
  path = tmp_path / "model000700.pt"
  interop.write_state_dict(path, random_weights(TINY.shapes()))
  return path


def config_of(folder):
  return model_dir_lib.read_config(folder)


def test_a_model_of_the_authors_draws_as_its_weights_do(run, tmp_path, torch_file):
  """Drawn by the commands from .pt and .safetensors, and with no file of weights at all."""
  golden = np.load(torch_file.with_suffix(".npz"))
  weights = test_unet.golden_weights(json.loads(str(golden["param_shapes"])))
  path = tmp_path / "ema_0.9999_000500.safetensors"
  interop.write_state_dict(path, weights)
  flags, folders = golden_flags(golden), {}
  for checkpoint in (torch_file, path):
    folders[checkpoint] = tmp_path / checkpoint.suffix[1:]
    result = run(
      "import_openai", f"--checkpoint={checkpoint}", f"--model_dir={folders[checkpoint]}", *flags
    )
    assert result.status == 0 and not result.err, result.err
    assert f"{golden['param_count']:,} parameters" in result.out
  config = config_of(folders[path])
  assert dataclasses.asdict(config) == dataclasses.asdict(config_of(folders[torch_file]))
  network = networks.build_network(config)
  interop.load_state_dict(network, weights)
  np.testing.assert_allclose(test_unet.output(network, golden), golden["out"], rtol=0, atol=2e-4)
  for folder in folders.values():
    for ema in config.training.ema + (0,):
      loaded = interop.to_state_dict(trained_model.load(folder, config, ema).network)
      assert all(loaded[name].tobytes() == array.tobytes() for name, array in weights.items())
  if not config.low_res_shape:  # Which enlarges images; it draws none.
    # Drawing takes seconds. The other folder's is the same: all that goes into it is.
    assert_same_images(run, folders[torch_file], config, network)


def assert_same_images(run, folder, config, network):
  (spec,) = map(samplers.SamplerSpec.parse, config.sampling.samplers)
  seeds = np.arange(2, dtype=np.int64)
  labels = [np.arange(2, dtype=np.int32) % config.num_classes] if config.num_classes else []
  expected = image_sampler.ImageSampler(config, network, spec).draw(seeds, *labels).numpy()
  assert len(np.unique(expected)) > 20  # Something to compare.
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
  ],
  ids=("unconditional", "classes", "super_resolution", "fixed_variance", "two_levels"),
)
def test_the_round_trip_keeps_every_byte(run, tmp_path, suffix, changes, flags):
  first, second = tmp_path / f"model000700{suffix}", tmp_path / "back" / f"model000700{suffix}"
  interop.write_state_dict(first, random_weights(dataclasses.replace(TINY, **changes).shapes()))
  folder = tmp_path / "run"
  result = run("import_openai", f"--checkpoint={first}", f"--model_dir={folder}", *FLAGS, *flags)
  assert result.status == 0 and "step 700\n" in result.out, result.err
  ema = () if suffix == ".pt" else ("--ema=0",)
  assert run("export_openai", f"--model_dir={folder}", f"--output={second}", *ema).status == 0
  assert second.read_bytes() == first.read_bytes()
  assert sorted(path.name for path in tmp_path.iterdir()) == ["back", first.name, "run"]


@pytest.mark.parametrize("ema", (0, 0.5))
def test_a_model_trained_here_goes_there_and_back(run, tmp_path, model_dir, ema):
  first, second = tmp_path / "model000010.pt", tmp_path / "back" / "model000010.pt"
  assert (
    run("export_openai", f"--model_dir={model_dir}", f"--output={first}", f"--ema={ema}").status
    == 0
  )
  flags = (*conftest.SMALL, "--image_size=8", f"--model_dir={tmp_path / 'run'}")
  assert run("import_openai", f"--checkpoint={first}", *flags).status == 0
  assert run("export_openai", f"--model_dir={tmp_path / 'run'}", f"--output={second}").status == 0
  assert second.read_bytes() == first.read_bytes()
  config = config_of(model_dir)
  trained = interop.to_state_dict(trained_model.load(model_dir, config, ema).network)
  assert all(
    tensor.numpy().tobytes() == trained[name].tobytes()
    for name, tensor in torch.load(second, weights_only=True).items()
  )


def test_an_imported_model_is_trained_on(run, tmp_path):
  """Also on data with classes, of which an unconditional model knows nothing."""
  checkpoint, folder = tmp_path / "model.pt", tmp_path / "run"
  weights = random_weights(TINY.shapes())
  interop.write_state_dict(checkpoint, weights)
  result = run(
    "import_openai",
    f"--checkpoint={checkpoint}",
    f"--model_dir={folder}",
    "--step=1000",
    *conftest.SMALL,
    "--noclass_conditional",
    "--image_size=8",
    "--learning_rate=1e-5",
    "--train_steps=1002",
  )
  assert result.status == 0 and "no classes, step 1000" in result.out, result.err
  result = run("train", f"--model_dir={folder}", "--num_samples=1")
  assert result.status == 0 and "resuming" in result.out and "at step 1000 of 1002" in result.out, (
    result.err
  )
  trained = interop.to_state_dict(trained_model.load(folder, config_of(folder), 0).network)
  moved = max(np.abs(trained[name] - array).max() for name, array in weights.items())
  # Adam's first steps are of about the learning rate each; 3 and 4.3 times that were the moments' bias off.
  assert 0.5e-5 < moved < 2.5e-5


def test_the_step_in_flags_counts_more_than_the_name(run, tmp_path, checkpoint):
  folder = tmp_path / "run"
  flags = (f"--checkpoint={checkpoint}", f"--model_dir={folder}", "--step=3")
  assert "step 3\n" in run("import_openai", *flags, *FLAGS).out
  assert json.loads((folder / "imported.json").read_text()) == {
    "checkpoint": checkpoint.name,
    "step": 3,
  }
  assert (folder / "checkpoints/step-3.index").exists()


def test_an_unknown_step_is_said(run, tmp_path, checkpoint):
  path = checkpoint.rename(tmp_path / "mine.pt")
  (tmp_path / "run").mkdir()  # An empty folder will do.
  result = run("import_openai", f"--checkpoint={path}", f"--model_dir={tmp_path / 'run'}", *FLAGS)
  assert result.status == 0 and "step 0" in result.out and "--step" in result.out
  # The averages are the file's weights, and no young ones.
  exported = run("export_openai", f"--model_dir={tmp_path / 'run'}", f"--output={tmp_path}/x.pt")
  assert exported.status == 0 and "note" not in exported.out


class Malicious:
  def __init__(self, path):
    self._path = path

  def __reduce__(self):
    return os.system, (f"touch {self._path}",)


def spoil(name, value):
  def save(path, weights):
    weights[name].flat[-1] = value
    interop.write_state_dict(path, weights)

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
    ("m.pt", lambda path, _: torch.save({1: torch.zeros(3)}, path), ("other keys than names",)),
    (
      "m.pt",
      lambda path, weights: interop.write_state_dict(
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
      ("system", "nothing of it was run"),
    ),
    (
      "m.pt",
      lambda path, _: path.write_bytes(pickle.dumps({"x": Malicious(path.with_name("was_run"))})),
      ("nothing of it was run",),
    ),
    ("m.pt", lambda path, _: path.touch(), ("an empty file",)),
    ("m.pt", lambda path, _: path.write_text("some\ntext"), ("damaged",)),
    ("m.safetensors", lambda path, _: path.write_text("some\ntext"), ("damaged",)),
    ("m.ckpt", lambda path, _: path.touch(), (".pt or .safetensors", "m.ckpt")),
    ("m.pt", lambda path, _: None, ("no such file",)),
    ("m.pt", lambda path, _: path.mkdir(), ("a folder",)),
    (
      "m.pt",
      lambda path, weights: spoil("out.0.bias", np.nan)(path, weights),
      ("finite", "out.0.bias"),
    ),
    ("m.safetensors", spoil("input_blocks.0.0.bias", np.inf), ("finite", "input_blocks.0.0.bias")),
    (
      "m.safetensors",
      lambda path, weights: interop.write_state_dict(
        path, {name: array for name, array in weights.items() if name != "out.0.bias"}
      ),
      ("out.0.bias: expected shape (32,), missing from ",),
    ),
  ],
)
def test_files_that_are_refused(run, tmp_path, name, save, words):
  path, folder = tmp_path / "files" / name, tmp_path / "run"
  path.parent.mkdir()
  save(path, random_weights(TINY.shapes()))
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
      ("time_embed.0.weight", "(256, 64)", "(128, 32)", "--base_channels: the checkpoint's is 32"),
    ),
    (
      ("--channel_multipliers=1,2",),
      ("input_blocks.2.0.op.weight", "--channel_multipliers: the checkpoint's is 1,"),
    ),
    (
      ("--class_conditional",),
      ("label_emb.weight", "--class_conditional: the checkpoint's is False"),
    ),
    (("--low_res_size=4",), ("input_blocks.0.0.weight", "--low_res_size: the checkpoint's is 0")),
    (
      ("--attention_resolutions=8",),
      ("input_blocks.1.1.norm.weight", "--attention_resolutions: the checkpoint's is none"),
    ),
    (("--objective=simple", "--variance_type=fixed_small"), ("out.2.weight", "--variance_type")),
    (("--samplers=ddim:24",), ("ddim24", "25")),
    (("--model_dir=/proc/none/run",), ("--model_dir", "/proc/none/run")),
  ],
)
def test_flags_that_are_refused(run, tmp_path, checkpoint, flags, words):
  own = (f"--checkpoint={checkpoint}", f"--model_dir={tmp_path / 'run'}")
  assert_refused(run("import_openai", *own, *FLAGS, *flags), *words)
  assert list(tmp_path.iterdir()) == [checkpoint]


def test_a_folder_that_holds_something_is_left_alone(run, tmp_path, checkpoint):
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


def test_a_failure_while_the_folder_is_written_leaves_nothing(
  run, tmp_path, checkpoint, monkeypatch
):
  def fail(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(model_dir_lib, "write_config", fail)
  flags = (f"--checkpoint={checkpoint}", f"--model_dir={tmp_path / 'run'}", *FLAGS)
  assert_refused(run("import_openai", *flags), "--model_dir", "No space left")
  assert list(tmp_path.iterdir()) == [checkpoint]


def test_without_pytorch(run, tmp_path, checkpoint, model_dir, monkeypatch):
  monkeypatch.setitem(sys.modules, "torch", None)
  flags = (f"--checkpoint={checkpoint}", f"--model_dir={tmp_path / 'run'}", *FLAGS)
  assert_refused(run("import_openai", *flags), "--checkpoint", "pip install")
  assert_refused(
    run("export_openai", f"--model_dir={model_dir}", f"--output={tmp_path / 'x.pt'}"),
    "--output",
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
      *conftest.SMALL,
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
    ("/proc/none/x.pt", (), ("--output", "/proc/none/x.pt")),
    ("/proc/none/x.safetensors", (), ("--output", "/proc/none/x.safetensors")),
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
