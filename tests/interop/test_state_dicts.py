"""Tests of state dicts in files: round trips, and files that are refused."""

import collections
import os
import pickle
import stat
import sys

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from iddpm_tf import settings
from iddpm_tf.interop import state_dicts

torch = pytest.importorskip("torch")


def arrays():
  rng = np.random.default_rng(0)
  return {
    name: rng.standard_normal(shape).astype(np.float32)
    for name, shape in (("z.weight", (2, 3, 1)), ("a.bias", (2,)), ("b", ()))
  }


@pytest.mark.parametrize("suffix", state_dicts.SUFFIXES)
def test_files_are_read_as_written_and_always_have_the_same_bytes(tmp_path, suffix):
  paths = [tmp_path / f"{name}{suffix}" for name in ("one", "two")]
  for path in paths:
    state_dicts.write_state_dict(path, arrays())
  read = state_dicts.read_state_dict(paths[0])
  assert read.keys() == arrays().keys()
  assert all(
    read[name].tobytes() == array.tobytes() and read[name].shape == array.shape
    for name, array in arrays().items()
  )
  assert paths[0].read_bytes() == paths[1].read_bytes()
  assert sorted(tmp_path.iterdir()) == paths  # Nothing temporary is left.
  (tmp_path / "any").touch()
  assert stat.S_IMODE(paths[0].stat().st_mode) == stat.S_IMODE((tmp_path / "any").stat().st_mode)


def test_pytorch_reads_what_is_written_in_order(tmp_path):
  state_dicts.write_state_dict(tmp_path / "model.pt", arrays())
  content = torch.load(tmp_path / "model.pt", weights_only=True)
  assert isinstance(content, collections.OrderedDict) and list(content) == list(arrays())
  assert all(tensor.dtype == torch.float32 for tensor in content.values())


@pytest.mark.parametrize("kind", ("float16", "bfloat16", "float64"))
def test_other_precisions_become_float32(tmp_path, kind):
  values = torch.tensor([1.0, -0.0078125, 3.140625]).to(getattr(torch, kind))
  torch.save({"w": torch.nn.Parameter(values)}, tmp_path / "model.pt")
  dtype = ml_dtypes.bfloat16 if kind == "bfloat16" else kind
  safetensors.numpy.save_file(
    {"w": values.float().numpy().astype(dtype)}, tmp_path / "model.safetensors"
  )
  for suffix in state_dicts.SUFFIXES:
    read = state_dicts.read_state_dict(tmp_path / f"model{suffix}")["w"]
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, values.float().numpy())


def test_files_of_old_pytorch_are_read(tmp_path):
  tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays().items()}
  torch.save(tensors, tmp_path / "model.pt", _use_new_zipfile_serialization=False)
  assert state_dicts.read_state_dict(tmp_path / "model.pt").keys() == arrays().keys()


class Malicious:
  """An object whose pickle makes a file."""

  def __init__(self, path):
    self._path = path

  def __reduce__(self):
    return os.system, (f"touch {self._path}",)


@pytest.mark.parametrize(
  "save",
  (
    torch.save,
    lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2)),
    lambda content, path: path.write_bytes(pickle.dumps(content, protocol=4)),
  ),
  ids=("torch", "pickle2", "pickle4"),
)
def test_no_code_in_a_file_is_executed(tmp_path, save):
  path, proof = tmp_path / "model.pt", tmp_path / "was_run"
  save({"w": torch.zeros(2), "x": Malicious(proof)}, path)
  message = r"model.pt: expected a state dict .* nothing in it was executed"
  with pytest.raises(settings.InputError, match=message):
    state_dicts.read_state_dict(path)
  assert not proof.exists()
  # The file really is malicious.
  with path.open("rb") as file:
    torch.load(file, weights_only=False) if save is torch.save else pickle.load(file)
  assert proof.exists()


def save_damaged(content, path):
  """Writes a file without its end."""
  torch.save(content, path)
  path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
  "name, save, message",
  [
    ("none.pt", lambda path: None, "which does not exist"),
    ("folder.pt", lambda path: path.mkdir(), "which is a folder"),
    ("model.ckpt", lambda path: path.touch(), r"\.pt or \.safetensors, received .*model.ckpt"),
    ("model.pt", lambda path: path.touch(), "an empty file"),
    (
      "model.pt",
      lambda path: path.write_text("hello\nworld"),
      "a damaged file, or another",
    ),
    (
      "model.pt",
      lambda path: save_damaged({"w": torch.zeros(100)}, path),
      "a damaged file, or another",
    ),
    ("model.pt", lambda path: torch.save(torch.zeros(2), path), "a Tensor"),
    ("model.pt", lambda path: torch.save([torch.zeros(2)], path), "a list"),
    ("model.pt", lambda path: torch.save({"w": 3}, path), "int for 'w'"),
    ("model.pt", lambda path: torch.save({"w": torch.arange(3)}, path), "torch.int64 for 'w'"),
    ("model.pt", lambda path: torch.save({"w": torch.zeros(2, 2).to_sparse()}, path), "'w'"),
    (
      "model.pt",
      lambda path: torch.save({"model": {"w": torch.zeros(2)}}, path),
      "dict for 'model'",
    ),
    (
      "model.pt",
      lambda path: torch.save(torch.nn.Linear(1, 1), path),
      "asks for torch.nn.modules.linear.Linear",
    ),
    # This is like torch.optim.AdamW, whose import takes seconds.
    (
      "opt500000.pt",
      lambda path: torch.save(
        {"state": {0: {"step": torch.ones(())}}, "param_groups": [{"lr": 1e-4, "params": [0]}]},
        path,
      ),
      r"an optimizer's; use a file model\*",
    ),
    ("model.safetensors", lambda path: path.touch(), "an empty file"),
    (
      "m.safetensors",
      lambda path: path.write_text("hello, this is no header"),
      "a damaged file, or another",
    ),
    (
      "m.safetensors",
      lambda path: path.write_bytes(safetensors.numpy.save(arrays())[:-3]),
      "a damaged",
    ),
    (
      "m.safetensors",
      lambda path: safetensors.numpy.save_file({"w": np.arange(3)}, path),
      "int64 for 'w'",
    ),
  ],
)
def test_files_that_are_refused(tmp_path, name, save, message):
  path = tmp_path / name
  save(path)
  with pytest.raises(settings.InputError, match=f": expected .*{message}") as error:
    state_dicts.read_state_dict(path)
  assert str(path) in str(error.value)
  assert len(error.value.message) < 400 + len(str(path))


@pytest.mark.parametrize("suffix", state_dicts.SUFFIXES)
def test_a_file_that_exists_is_not_overwritten(tmp_path, suffix):
  path = tmp_path / f"model{suffix}"
  path.write_text("mine")
  with pytest.raises(ValueError, match=r"expected a new file, received .*, which exists"):
    state_dicts.write_state_dict(path, arrays())
  assert path.read_text() == "mine" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
  "suffix, writer", [(".pt", "torch.save"), (".safetensors", "safetensors.numpy.save_file")]
)
def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch, suffix, writer):
  def fail(*_, **__):
    raise RuntimeError("disk full\nsomewhere")

  monkeypatch.setattr(writer, fail)
  with pytest.raises(OSError, match=r"could not be written \(disk full\)"):
    state_dicts.write_state_dict(tmp_path / f"model{suffix}", arrays())
  assert not list(tmp_path.iterdir())


def test_without_pytorch(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "torch", None)
  (tmp_path / "model.pt").write_text("any")
  message = r"model.pt: expected PyTorch .*pip install 'iddpm_tf\[torch\]'.*safetensors"
  with pytest.raises(settings.InputError, match=message):
    state_dicts.read_state_dict(tmp_path / "model.pt")
  with pytest.raises(settings.InputError, match=r"/new.pt: expected PyTorch"):
    state_dicts.write_state_dict(tmp_path / "new.pt", arrays())
  state_dicts.write_state_dict(tmp_path / "new.safetensors", arrays())
  assert state_dicts.read_state_dict(tmp_path / "new.safetensors").keys() == arrays().keys()
  assert not (tmp_path / "new.pt").exists()


@pytest.mark.parametrize(
  "name, step",
  [
    ("model500000.pt", 500000),
    ("model000000.pt", 0),
    ("ema_0.9999_500000.pt", 500000),
    ("ema_0.9999_1200000.safetensors", 1200000),
    ("cifar10_uncond_50M_500K.pt", 500000),
    ("imagenet64_uncond_vlb_100M_1500K.pt", 1500000),
    ("imagenet64_cond_270M_250K.pt", 250000),
    ("upsample_cond_500K.pt", 500000),
    ("lsun_uncond_100M_1200K_bs128.pt", 1200000),
    ("lsun_uncond_100M_2400K_bs64.safetensors", 2400000),
    ("unet_uncond.pt", None),
    ("2024_mine.pt", None),
    ("my_64K_textures.pt", None),
  ],
)
def test_steps_in_names(name, step):
  assert state_dicts.step_in_name(f"some/where_7K/{name}") == step
