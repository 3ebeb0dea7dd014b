"""Arguments that users get wrong: each gives one line, or the result that they mean."""

import dataclasses
import pathlib
import pickle
import signal

import numpy as np
import pytest

import iddpm_tf as iddpm
from iddpm_tf import registries
from iddpm_tf import settings
from iddpm_tf.api import training
from iddpm_tf.diffusion.samplers import base
from iddpm_tf.interop import importing
from iddpm_tf.models import seeds
from iddpm_tf.serving import layout
from iddpm_tf.settings import arguments
from iddpm_tf.training import state as state_lib
from iddpm_tf.utils import files
from iddpm_tf.utils import progress as progress_lib
from tests import small_model


@pytest.mark.parametrize("seed", [-1, 2**63, [2**63] * 2, "a", 1.5, []])
def test_seeds_are_whole_numbers_of_64_bits(seed):
  with pytest.raises(iddpm.InputError, match=r"^seed: expected"):
    seeds.make_inputs(2, seed=seed)


def test_seeds_must_not_overflow_with_their_number():
  with pytest.raises(iddpm.InputError, match=r"^seed: expected"):
    seeds.make_inputs(2, seed=2**63 - 1)
  assert seeds.make_inputs(1, seed=2**63 - 1)["seed"][0] == 2**63 - 1


def test_one_label_stands_for_all_images():
  np.testing.assert_array_equal(seeds.make_labels(3, 10, 7), [7, 7, 7])
  with pytest.raises(iddpm.InputError, match=r"^labels: expected a list of whole numbers"):
    seeds.make_labels(3, 10, [7.0])


@pytest.mark.parametrize("version", [0, -1, 1.5, "3", True])
def test_versions_are_positive_whole_numbers(tmp_path, version):
  with pytest.raises(iddpm.InputError, match=r"^version: expected"):
    layout.require_new_version(tmp_path, version)


@pytest.mark.parametrize("value", [0, 2.5, "a", None, True])
def test_counts_are_positive_whole_numbers(value):
  with pytest.raises(iddpm.InputError, match=r"^batch_size: expected a whole number of at least 1"):
    settings.require_count("batch_size", value)


def test_progress_is_a_truth_value_or_a_progress():
  with pytest.raises(iddpm.InputError, match=r"^progress: expected"):
    progress_lib.make(None)


def test_settings_take_the_types_of_notebooks():
  config = iddpm.Config.from_settings(
    data_dir=pathlib.Path("x"), batch_size=np.int64(8), channel_multipliers=np.array([1, 2])
  )
  assert config.data.data_dir == "x" and config.network.channel_multipliers == (1, 2)
  assert type(config.training.batch_size) is int


def test_a_configuration_without_data_knows_no_images():
  with pytest.raises(iddpm.InputError, match=r"^image_shape: expected"):
    _ = iddpm.Config().out_channels


def test_sections_of_a_configuration_have_their_types():
  with pytest.raises(iddpm.InputError, match=r"^training: expected a TrainingConfig"):
    iddpm.Config(training={"batch_size": 8})
  with pytest.raises(iddpm.InputError, match=r"^config: expected JSON, received None"):
    iddpm.Config.from_json(None)


def test_errors_of_an_ensemble_name_its_fields(model_dir):
  for values, name in (({"steps": 13}, "steps"), ({"steps": 5, "ema": 0.7}, "ema")):
    ensemble = iddpm.Ensemble(str(model_dir), **values)
    with pytest.raises(iddpm.InputError, match=rf"^ensemble\.{name}: expected"):
      iddpm.load(model_dir, ensemble=ensemble, progress=False)


def test_arrays_have_no_test_split_to_score(tmp_path):
  config = iddpm.Config.from_settings(
    **small_model.SETTINGS, train_steps=5, eval_every=5, eval_scores=("nll",)
  )
  images, labels = np.zeros([20, 8, 8, 1], np.uint8), np.arange(20) % 10
  with pytest.raises(
    iddpm.InputError, match=r"^eval_scores: expected no nll, because a run on arr"
  ):
    iddpm.train(config, images, labels, model_dir=tmp_path / "a", progress=False)
  assert not (tmp_path / "a").exists()


def test_errors_can_be_sent_to_another_process():
  unknown = arguments.UnknownSettingError("lr", "learning_rate", "a.flags, line 1")
  interrupted = training.TrainingInterrupted(signal.SIGTERM, 7)
  for error in (unknown, interrupted, iddpm.InputError("a", "b")):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error) and str(copy) == str(error)


def test_training_refuses_what_it_would_ignore(tmp_path):
  with pytest.raises(iddpm.InputError, match=r"^labels: expected none without an array"):
    iddpm.train(iddpm.Config(), None, [5] * 3, model_dir=tmp_path / "a", progress=False)
  with pytest.raises(iddpm.InputError, match=r"^config: expected a Config"):
    iddpm.train("configs/digits.flags", model_dir=tmp_path / "a", progress=False)
  assert not (tmp_path / "a").exists()


def test_a_run_on_arrays_does_not_continue_on_other_data(tmp_path):
  small_model.write(tmp_path / "a", small_model.make_config(dataset="arrays"))
  config = iddpm.Config.from_settings(**small_model.SETTINGS, train_steps=5)
  with pytest.raises(iddpm.InputError, match=r"^images: expected those that"):
    iddpm.train(config, model_dir=tmp_path / "a", progress=False)


def test_a_state_leaves_the_generators_of_the_caller_alone():
  np.random.seed(3)
  expected = np.random.RandomState(3).rand(2)
  first = np.random.rand()
  state_lib.TrainState(small_model.make_config())
  np.testing.assert_array_equal([first, np.random.rand()], expected)


def test_a_sampler_that_is_defined_anew_draws_anew(model_dir):
  model = iddpm.load(model_dir, progress=False)

  def define(factor):
    @registries.SAMPLERS.register("anew")
    @dataclasses.dataclass(frozen=True)
    class Anew(base.Sampler):
      def step(self, diffusion, prediction, x_t, t, noise):
        return factor * prediction.x_start

    return Anew

  try:
    define(1.0)
    first = model.sample(2, sampler="anew:2", progress=False)
    define(0.0)
    second = model.sample(2, sampler="anew:2", progress=False)
  finally:
    registries.SAMPLERS._registered.pop("anew")
  assert np.any(first != second) and np.all(second == 128)


@pytest.mark.parametrize(
  "name, call",
  [
    ("model_dir", lambda path: iddpm.train(iddpm.Config(), model_dir=path)),
    ("init_from", lambda path: iddpm.train(iddpm.Config(), model_dir="new", init_from=path)),
    ("path", iddpm.load),
    ("model_dir", lambda path: importing.import_checkpoint("a.pt", path, iddpm.Config())),
    ("checkpoint", lambda path: importing.import_checkpoint(path, "new", iddpm.Config())),
    ("data_dir", lambda path: iddpm.Config.from_settings(data_dir=path)),
    ("eval_reference", lambda path: iddpm.Config.from_settings(eval_reference=path)),
    ("flagfile", iddpm.Config.from_flagfile),
    ("output_dir", files.make_folder),
  ],
)
def test_remote_storage_is_refused(tmp_path, monkeypatch, name, call):
  monkeypatch.chdir(tmp_path)
  for path in ("gs://bucket/run.pt", pathlib.Path("s3://bucket/run.pt")):
    with pytest.raises(
      iddpm.InputError, match=rf"^{name}: expected a path on this machine, receiv"
    ):
      call(path)
  assert not any(tmp_path.iterdir())
