"""The folder of a training by the authors' code, whose training goes on here."""

import numpy as np
import pytest

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.interop import architecture
from iddpm_tf.interop import importing
from iddpm_tf.interop import openai
from iddpm_tf.interop import state_dicts
from iddpm_tf.interop import training_folder
from iddpm_tf.models import checkpoints as checkpoints_lib
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.training import state as state_lib
from tests.interop import checkpoints

torch = pytest.importorskip("torch")

# In the authors' order.
SHAPES = dict(
  sorted(checkpoints.TINY.shapes().items(), key=lambda item: architecture.authors_order(item[0]))
)
STEP, TAKEN = 700, 3  # The last step, and how many the optimizer has taken since it was new.
CONFIG = config_lib.Config.from_settings(**checkpoints.SETTINGS, learning_rate=1e-3)


class Training:
  """A training by PyTorch, whose gradients are random."""

  def __init__(self, *, groups=None, **options):
    """Begins it; with groups of names that are joined as in mixed precision."""
    self._random = np.random.default_rng(1)
    self._groups = groups
    arrays = self._join(checkpoints.random_weights(SHAPES))
    self._parameters = [torch.nn.Parameter(torch.from_numpy(array)) for array in arrays]
    options = {"lr": 1e-3, "weight_decay": 0.0} | options
    self._optimizer = torch.optim.AdamW(self._parameters, **options)

  def gradients(self):
    """Returns a gradient of each parameter."""
    return {name: self._random.normal(size=shape) for name, shape in SHAPES.items()}

  def step(self, gradients):
    arrays = self._join(gradients)
    for parameter, array in zip(self._parameters, arrays, strict=True):
      parameter.grad = torch.from_numpy(array.astype(np.float32))
    self._optimizer.step()

  def weights(self):
    """Returns the parameters by name."""
    arrays = [each.detach().numpy() for each in self._parameters]
    if self._groups is None:
      return dict(zip(SHAPES, arrays, strict=True))
    names = [name for group in self._groups for name in group]
    ends = np.cumsum([int(np.prod(SHAPES[name])) for name in names])
    parts = np.split(np.concatenate([array.ravel() for array in arrays]), ends[:-1])
    named = dict(zip(names, parts, strict=True))
    return {name: named[name].reshape(shape) for name, shape in SHAPES.items()}

  def _join(self, arrays):
    if self._groups is None:
      return list(arrays.values())
    return [np.concatenate([arrays[name].ravel() for name in group]) for group in self._groups]

  def write(self, folder, suffix="pt"):
    """Writes the files of the authors' code, and those of an earlier step."""
    folder.mkdir()
    for _ in range(TAKEN):
      self.step(self.gradients())
    weights = self.weights()
    for step, scale in ((STEP, 1.0), (STEP - 100, 2.0)):
      scaled = {name: np.float32(scale) * array for name, array in weights.items()}
      state_dicts.write_state_dict(folder / f"model{step:06d}.{suffix}", scaled)
    for rate, scale in (("0.9999", 0.5), ("0.99", 0.25)):
      scaled = {name: np.float32(scale) * array for name, array in weights.items()}
      state_dicts.write_state_dict(folder / f"ema_{rate}_{STEP:06d}.pt", scaled)
    torch.save(self._optimizer.state_dict(), folder / f"opt{STEP:06d}.pt")
    return folder


def restored(folder):
  """Returns the state of a model folder."""
  folder = model_dir_lib.ModelDir(folder)
  state = state_lib.TrainState(folder.require_config())
  checkpoints_lib.Checkpoints(state, folder.checkpoints).restore()
  return state


def weights_of(state, values):
  """Returns weights or averages by the authors' names."""
  state.load_into_network(values)
  return openai.to_state_dict(state.network)


def assert_close(received, expected):
  assert received.keys() == expected.keys()
  for name, array in expected.items():
    np.testing.assert_allclose(received[name], array, rtol=1e-5, atol=1e-7, err_msg=name)


_VECTORS = [name for name, shape in SHAPES.items() if len(shape) == 1]
_OTHERS = [name for name in SHAPES if name not in _VECTORS]


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize(
  "groups",
  [None, [list(SHAPES)], [_VECTORS, _OTHERS]],
  ids=["float32", "fp16 of the first code", "fp16 of the second code"],
)
def test_a_training_goes_on_with_its_averages_and_its_moments(tmp_path, recorder, groups, suffix):
  """The order of the parameters in a file does not matter."""
  training = Training(groups=groups)
  folder = training.write(tmp_path / "authors", suffix)
  imported = importing.import_checkpoint(folder, tmp_path / "run", CONFIG, progress=recorder)
  assert imported.step == STEP and imported.config.training.ema == (0.9999, 0.99)
  assert any("3 steps of AdamW" in line for line in recorder.lines)
  assert not any(line.startswith("note") for line in recorder.lines)
  state, weights = restored(tmp_path / "run"), training.weights()
  assert_close(weights_of(state, state.weights), weights)
  for rate, scale in ((0.9999, 0.5), (0.99, 0.25)):
    expected = {name: scale * array for name, array in weights.items()}
    assert_close(weights_of(state, state.averages.at_rate(rate)), expected)
  # The next step is that of PyTorch.
  gradients = training.gradients()
  training.step(gradients)
  openai.load_state_dict(state.network, gradients)
  arrays = [variable.value for variable in state.network.trainable_variables]
  state.optimizer.apply(state.weights.layout.join(arrays))
  assert int(state.step) == STEP + 1
  assert_close(weights_of(state, state.weights), training.weights())


def test_the_files_of_a_step_are_found(tmp_path):
  folder = Training().write(tmp_path / "authors")
  found = training_folder.find(folder)
  assert (found.step, found.model.name, found.optimizer.name) == (
    STEP,
    "model000700.pt",
    "opt000700.pt",
  )
  assert {rate: path.name for rate, path in found.averages.items()} == {
    0.9999: "ema_0.9999_000700.pt",
    0.99: "ema_0.99_000700.pt",
  }
  earlier = training_folder.find(folder, STEP - 100)
  assert (earlier.model.name, earlier.averages, earlier.optimizer) == ("model000600.pt", {}, None)


def test_what_is_missing_or_differs_is_noted(tmp_path, recorder):
  folder = Training(lr=2e-3, weight_decay=0.1).write(tmp_path / "authors")
  importing.import_checkpoint(folder, tmp_path / "a", CONFIG, progress=recorder)
  assert [line for line in recorder.lines if line.startswith("note")] == [
    "note: the optimizer had learning_rate=0.002; the new run has 0.001",
    "note: the optimizer had weight_decay=0.1; the new run has 0",
  ]
  recorder.lines.clear()
  importing.import_checkpoint(folder, tmp_path / "b", CONFIG, step=STEP - 100, progress=recorder)
  assert [line for line in recorder.lines if line.startswith("note")] == [
    f"note: {folder} has no averages of step 600; they begin at its weights",
    f"note: {folder} has no optimizer of step 600; it begins anew",
  ]
  assert model_dir_lib.ModelDir(tmp_path / "b").require_config().training.ema == CONFIG.training.ema


def _other_network(folder):
  weights = {"x": np.zeros(3, np.float32)}
  path = folder / f"ema_0.99_{STEP:06d}.pt"
  path.unlink()
  state_dicts.write_state_dict(path, weights)


def _one_parameter(folder):
  optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(3))])
  optimizer.param_groups[0]["params"][0].grad = torch.ones(3)
  optimizer.step()
  torch.save(optimizer.state_dict(), folder / f"opt{STEP:06d}.pt")


def _new_optimizer(folder):
  optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(3))])
  torch.save(optimizer.state_dict(), folder / f"opt{STEP:06d}.pt")


def _other_betas(folder):
  Training(betas=(0.5, 0.9)).write(folder.parent / "other")
  (folder.parent / f"other/opt{STEP:06d}.pt").replace(folder / f"opt{STEP:06d}.pt")


def _weights_in_its_place(folder):
  (folder / f"model{STEP:06d}.pt").replace(folder / f"opt{STEP:06d}.pt")
  state_dicts.write_state_dict(folder / f"model{STEP:06d}.pt", checkpoints.random_weights(SHAPES))


@pytest.mark.parametrize(
  "damage, words",
  [
    (_other_network, "ema_0.99_000700.pt: expected the parameters of the model beside it"),
    (_one_parameter, "opt000700.pt: expected moments of the parameters of the model beside it"),
    (_new_optimizer, "opt000700.pt: expected moments of every parameter"),
    (_other_betas, r"opt000700.pt: expected the state of AdamW with one group .* betas \(0.9"),
    (_weights_in_its_place, "opt000700.pt: expected the state dict of an optimizer"),
  ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, damage, words):
  folder = Training().write(tmp_path / "authors")
  damage(folder)
  with pytest.raises(settings.InputError, match=words):
    importing.import_checkpoint(folder, tmp_path / "run", CONFIG)
  assert not (tmp_path / "run").exists()


def test_a_folder_without_such_files_or_steps_is_refused(tmp_path):
  with pytest.raises(settings.InputError, match="checkpoint: expected a file, or a folder of the"):
    importing.import_checkpoint(tmp_path, tmp_path / "run", CONFIG)
  folder = Training().write(tmp_path / "authors")
  with pytest.raises(settings.InputError, match=r"step: expected one of the steps of .*: 600, 700"):
    importing.import_checkpoint(folder, tmp_path / "run", CONFIG, step=5)
