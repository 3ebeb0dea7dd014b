"""New runs whose initial weights are those of a trained model."""

import json

import numpy as np
import pytest

from iddpm_tf import networks
from iddpm_tf import settings
from iddpm_tf.interop import initialisation
from iddpm_tf.interop import openai
from iddpm_tf.interop import state_dicts
from iddpm_tf.models import checkpoints as checkpoints_lib
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.training import state as state_lib
from tests import small_model
from tests.interop import checkpoints

ENDS = ("label_emb.weight", "input_blocks.0.0", "out.2")


def begin(config, folder, source, recorder, **options):
  """Returns the state of a new run, and the folder."""
  state, folder = state_lib.TrainState(config), model_dir_lib.ModelDir(folder)
  initialisation.initialise(state, folder, source, progress=recorder, **options)
  return state, folder


def weights_of(folder, ema):
  """Returns the weights of a model folder by the authors' names."""
  folder = model_dir_lib.ModelDir(folder)
  network = networks.build_network(folder.require_config())
  checkpoints_lib.restore_network(network, folder.checkpoints, ema)
  return openai.to_state_dict(network)


def assert_taken(state, expected, anew=()):
  """Asserts which weights are those of a model, and that the averages begin at the weights."""
  state.load_into_network(state.weights)
  taken = openai.to_state_dict(state.network)
  for name, array in taken.items():
    if not name.startswith(tuple(anew)):
      np.testing.assert_array_equal(array, expected[name], name)
  for rate in state.averages.rates:
    np.testing.assert_array_equal(state.averages.at_rate(rate).variable, state.weights.variable)


@pytest.mark.parametrize("ema, rate, words", [(None, 0.9, "EMA 0.9"), (0, 0, "raw weights")])
def test_all_weights_of_a_model_folder_are_taken(model_dir, tmp_path, recorder, ema, rate, words):
  config = small_model.make_config()
  state, folder = begin(config, tmp_path / "run", model_dir, recorder, ema=ema)
  assert recorder.lines == [f"initial weights: {model_dir}, step 10, {words}"]
  assert_taken(state, weights_of(model_dir, rate))
  record = {"init_from": str(model_dir), "step": 10, "ema": rate, "not_taken": []}
  assert json.loads(folder.initialised.read_text()) == record
  assert folder.require_config() == config
  restored = state_lib.TrainState(config)
  assert checkpoints_lib.Checkpoints(restored, folder.checkpoints).restore() == 0
  assert int(restored.step) == 0
  assert_taken(restored, weights_of(model_dir, rate))
  initialisation.require_same_source(folder, model_dir)
  for source, record in (("/elsewhere", str(model_dir)), (model_dir, "random weights")):
    run = folder if source == "/elsewhere" else model_dir_lib.ModelDir(model_dir)
    with pytest.raises(settings.InputError) as caught:
      initialisation.require_same_source(run, source)
    message = f"init_from: expected none, because {run} holds a run that began from {record}"
    assert str(caught.value) == f"{message}, received {source}"


def test_other_classes_and_channels_begin_anew(model_dir, tmp_path, recorder):
  config = small_model.make_config(image_shape=(8, 8, 3), num_classes=4, noise_schedule="linear")
  state, folder = begin(config, tmp_path / "run", model_dir, recorder)
  assert recorder.lines == [
    f"initial weights: {model_dir}, step 10, EMA 0.9; not taken: the class embedding (classes: "
    "10 there, 4 here), the first convolution (channels: 1 there, 3 here), the last "
    "convolution (channels: 2 there, 6 here)",
    "note: noise_schedule is cosine there and linear here; the training adapts the weights to this",
  ]
  assert_taken(state, weights_of(model_dir, 0.9), ENDS)
  fresh = openai.to_state_dict(state_lib.TrainState(config).network)
  taken = openai.to_state_dict(state.network)
  for name in (name for name in taken if name.startswith(ENDS)):
    np.testing.assert_array_equal(taken[name], fresh[name], name)
  record = json.loads(folder.initialised.read_text())
  assert record["not_taken"] == ["label_emb", "input_blocks.0.0", "out.2"]


def test_classes_are_left_out_where_there_are_none(model_dir, tmp_path, recorder):
  config = small_model.make_config(num_classes=0, class_conditional=False)
  state, _ = begin(config, tmp_path / "run", model_dir, recorder)
  assert recorder.lines[0].endswith("not taken: the class embedding (classes: 10 there, none here)")
  assert_taken(state, weights_of(model_dir, 0.9))


@pytest.fixture(name="checkpoint", scope="module")
def fixture_checkpoint(tmp_path_factory):
  """A checkpoint of the authors' code, of a network without classes."""
  path = tmp_path_factory.mktemp("authors") / "ema_0.9999_000700.safetensors"
  state_dicts.write_state_dict(path, checkpoints.random_weights(checkpoints.TINY.shapes()))
  return path


def test_a_checkpoint_of_the_authors_gets_classes(checkpoint, tmp_path, recorder):
  """The network with new classes begins as the one without."""
  config = small_model.make_config()
  state, folder = begin(config, tmp_path / "run", checkpoint, recorder)
  assert recorder.lines == [
    f"initial weights: {checkpoint}; not taken: the class embedding (classes: none there, 10 here)"
  ]
  assert_taken(state, state_dicts.read_state_dict(checkpoint), ["label_emb"])
  assert not np.any(openai.to_state_dict(state.network)["label_emb.weight"])
  record = json.loads(folder.initialised.read_text())
  assert record == {"init_from": str(checkpoint), "not_taken": ["label_emb"]}


@pytest.mark.parametrize(
  "changes, words",
  [
    ({"base_channels": 64}, "base_channels is 32 there and 64 here"),
    (
      {"channel_multipliers": (1, 2), "attention_resolutions": (4,)},
      "channel_multipliers is 1 there and 1,2 here, attention_resolutions is none there and 4 here",
    ),
    ({"num_res_blocks": 2}, "num_res_blocks is 1 there and 2 here"),
    ({"scale_shift_norm": False}, "scale_shift_norm is True there and False here"),
    ({"num_heads": 2}, "num_heads is 4 there and 2 here"),
  ],
)
def test_another_network_is_refused(model_dir, tmp_path, recorder, changes, words):
  with pytest.raises(settings.InputError) as caught:
    begin(small_model.make_config(**changes), tmp_path / "run", model_dir, recorder)
  message = "init_from: expected a model whose network differs in its classes and channels at most"
  source = f"{model_dir}, step 10, EMA 0.9"
  assert str(caught.value) == f"{message}, received {source}: {words}"
  assert not (tmp_path / "run").exists()


def test_sources_that_are_no_model_are_refused(checkpoint, model_dir, tmp_path):
  (tmp_path / "text.txt").touch()
  for source, ema, message in (
    (tmp_path / "none", None, r"^init_from: expected the folder of a run, .*does not exist"),
    (tmp_path / "text.txt", None, r"^init_from: expected .*\.pt"),
    (checkpoint, 0.9, r"^init_ema: expected none for a checkpoint"),
  ):
    with pytest.raises(settings.InputError, match=message):
      initialisation.require_source(source, ema)
  state = state_lib.TrainState(small_model.make_config())
  with pytest.raises(settings.InputError, match=r"^init_ema: expected one of 0\.9, 0\.5, 0"):
    folder = model_dir_lib.ModelDir(tmp_path / "run")
    initialisation.initialise(state, folder, model_dir, ema=0.99)
