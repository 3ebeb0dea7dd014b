"""Training from arrays and sources, continuing, stopping, and wrong arguments."""

import shutil
import signal

import numpy as np
import pytest

import iddpm_tf as iddpm
from iddpm_tf.data import sources
from iddpm_tf.utils import progress as progress_lib
from tests import small_model
from tests.trainers import test_train

CONFIG = iddpm.Config.from_settings(**small_model.SETTINGS, steps_per_call=50, save_every=1000)


@pytest.fixture(name="digits", scope="module")
def fixture_digits():
  """The training split of the digits, as a `Source`."""
  return sources.load(CONFIG.data, "train")


@pytest.fixture(name="trained", scope="module")
def fixture_trained(graphs, digits, tmp_path_factory):
  """A model of 50 steps, which was trained from arrays."""
  folder = tmp_path_factory.mktemp("runs") / "arrays"
  config = CONFIG.with_settings(train_steps=50)
  with pytest.MonkeyPatch.context() as monkeypatch, graphs.used(monkeypatch):
    return iddpm.train(config, digits.images, list(digits.labels), model_dir=folder, progress=False)


@pytest.fixture(name="copy")
def fixture_copy(trained, tmp_path):
  """A copy of the folder of the model, which a test may change."""
  folder = tmp_path / "copy"
  shutil.copytree(trained.trained.folder.path, folder)
  return folder


def test_training_from_arrays_returns_the_model(trained):
  assert (trained.step, trained.ema, trained.num_classes) == (50, 0.9, 10)
  data = trained.config.data
  assert (data.dataset, data.image_shape, data.num_classes) == ("arrays", (8, 8, 1), 10)


def test_a_run_is_continued_and_its_model_encodes_images(copy, digits, recorder):
  config = CONFIG.with_settings(train_steps=100)
  model = iddpm.train(config, digits.images, digits.labels, model_dir=copy, progress=recorder)
  assert model.step == 100
  assert recorder.lines[0].startswith(f"resuming {copy} at step 50 of 100, on ")
  assert any(line.startswith("estimates: ") for line in recorder.lines)
  assert recorder.lines[-1] == f"trained to step 100: {copy}/checkpoints/step-100"
  assert recorder.done >= 50
  images, labels = digits.images[:8], digits.labels[:8]
  latents = model.encode(images, labels, progress=False)
  assert latents.shape == images.shape and latents.dtype == np.float32
  assert 0.5 < np.std(latents) < 1.5
  decoded = model.decode(latents, labels, progress=False)
  assert decoded.dtype == np.uint8
  error, other = (np.mean(np.abs(decoded.astype(int) - each)) for each in (images, images[::-1]))
  assert error < 10 and other > 30


def test_a_signal_stops_the_training_which_continues_bit_for_bit(digits, tmp_path, trained_dir):
  class Stopping(progress_lib.Silent):
    """Sends a signal in the fourth step."""

    def bar(self, **_):
      return self

    def update(self, n=1):
      signal.raise_signal(signal.SIGINT)

    def set_postfix_str(self, s=""):
      pass

    def __enter__(self):
      return self

    def __exit__(self, *_):
      pass

  folder = tmp_path / "stopped"
  config = CONFIG.with_settings(train_steps=10, steps_per_call=4)
  with pytest.raises(iddpm.TrainingInterrupted) as caught:
    iddpm.train(config, digits, model_dir=folder, progress=Stopping())
  assert (caught.value.signal, caught.value.step) == (signal.SIGINT, 4)
  assert str(caught.value) == "stopped by SIGINT and saved at step 4"
  model = iddpm.train(config, digits, model_dir=folder, progress=False)
  assert model.step == 10
  test_train.assert_same_run(folder, trained_dir)


def test_a_finished_run_is_loaded(copy, digits, capfd):
  config = CONFIG.with_settings(train_steps=50)
  assert iddpm.train(config, digits, model_dir=copy, progress=False).step == 50
  assert capfd.readouterr() == ("", "")
  iddpm.train(config, digits, model_dir=copy)
  assert f"{copy} has finished its 50 steps" in capfd.readouterr().out


def test_other_arrays_than_before_are_noted(copy, digits, recorder):
  config = CONFIG.with_settings(train_steps=50)
  note = f"note: {copy} was trained on other images or labels until now"
  for labels, lines in ((digits.labels, []), (digits.labels[::-1], [note])):
    recorder.lines.clear()
    iddpm.train(config, digits.images, labels, model_dir=copy, progress=recorder)
    assert [line for line in recorder.lines if line.startswith("note: ")] == lines


def test_the_data_set_of_the_configuration_is_the_default(trained_dir, capfd):
  config = iddpm.Config.from_settings(**small_model.SETTINGS, train_steps=10)
  assert iddpm.train(config, model_dir=trained_dir, progress=False).step == 10


IMAGES = np.random.default_rng(0).integers(0, 256, [20, 8, 8, 1], np.uint8)
LABELS = np.arange(20) % 10
WRONG = {
  "floats": (
    (CONFIG, IMAGES / 255, LABELS),
    "images: expected uint8 [N, H, W, C], received float64 [20, 8, 8, 1]; values in [0, 1] become "
    "uint8 by np.uint8(np.round(images * 255))",
  ),
  "images of different sizes": (
    (CONFIG, [IMAGES[0], IMAGES[1, :4]], [0, 1]),
    "images: expected uint8 [N, H, W, C], received a list that is not an array of images of one "
    "size",
  ),
  "too few labels": (
    (CONFIG, IMAGES, LABELS[:3]),
    "labels: expected integers, one per image [20], received int64 [3]",
  ),
  "negative labels": (
    (CONFIG, IMAGES, LABELS - 1),
    "labels: expected classes from 0 to 2147483646, received -1",
  ),
  "no classes": (
    (CONFIG, IMAGES, None),
    "class_conditional: expected False, because arrays has 0 classes and conditioning requires two "
    "or more, received True",
  ),
  "a network that is too deep": (
    (CONFIG.with_settings(channel_multipliers=(1, 1, 1, 1, 1)), IMAGES, LABELS),
    "channel_multipliers: expected at most as many levels as the images of arrays, 8x8, can be "
    "halved for (4 times here), received 1,1,1,1,1",
  ),
  "more steps than the model has": (
    (CONFIG.with_settings(samplers=("ddim:50",)), IMAGES, LABELS),
    "samplers: expected at most 25 steps, which the model has, received ddim:50",
  ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_refused(tmp_path, name):
  arguments, message = WRONG[name]
  with pytest.raises(iddpm.InputError) as caught:
    iddpm.train(*arguments, model_dir=tmp_path / "run")
  assert str(caught.value) == message
  assert not (tmp_path / "run").exists()


def test_a_run_with_another_configuration_or_other_data_is_refused(trained, digits):
  folder = trained.trained.folder.path
  for config, images, labels, message in (
    (
      CONFIG.with_settings(dropout=0.5),
      digits.images,
      digits.labels,
      f"dropout: expected 0.0, the value in {folder}, received 0.5",
    ),
    (
      CONFIG,
      IMAGES.repeat(3, axis=-1),
      LABELS,
      f"dataset: expected images of 8x8x1 in 10 classes, as {folder} has, received 8x8x3 in 10 "
      "classes (arrays)",
    ),
  ):
    with pytest.raises(iddpm.InputError) as caught:
      iddpm.train(config, images, labels, model_dir=folder)
    assert str(caught.value) == message


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(iddpm.InputError, match=r"^model_dir: expected a folder"):
    iddpm.train(CONFIG, IMAGES, LABELS, model_dir=tmp_path / "file")
