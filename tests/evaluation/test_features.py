"""The choice of a feature extractor, also of one from outside the package."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import registries
from iddpm_tf import settings
from iddpm_tf.evaluation import features
from iddpm_tf.evaluation.feature_extractors import base
from iddpm_tf.utils import progress as progress_lib


@pytest.fixture(name="registered")
def fixture_registered(monkeypatch):
  """Registers two extractors, one that its name chooses (which it returns) and one by a text."""
  registry = registries.FEATURE_EXTRACTORS
  for name in registry.names():
    registry.get(name)  # A module registers its class when it is first imported.
  monkeypatch.setattr(registry, "_registered", dict(registry._registered))

  @registry.register("brightness")
  class Brightness(base.FeatureExtractor):
    def __init__(self, text):
      super().__init__(text, image_shape=(None, None, None), files=[__file__])

    def compute(self, images):
      return {"pool": tf.reduce_mean(tf.cast(images, tf.float32), [1, 2])}

  @registry.register("power")
  class Power(base.FeatureExtractor):
    accepted_texts = "a power such as 'power:2'"

    def __init__(self, text):
      super().__init__(text, image_shape=(None, None, 3), files=[__file__])
      self._exponent = float(text.removeprefix("power:"))

    @classmethod
    def accepts(cls, text):
      return text.startswith("power:")

    def compute(self, images):
      return {"pool": tf.reduce_mean(tf.cast(images, tf.float32) ** self._exponent, [1, 2])}

  return Brightness


def test_a_registered_class_is_chosen_by_its_name_or_by_a_text_that_it_accepts(registered):
  images = np.full([2, 4, 4, 3], 3, np.uint8)
  brightness = features.load("brightness")
  np.testing.assert_array_equal(brightness(images).pool, np.full([2, 3], 3.0))
  np.testing.assert_array_equal(brightness(images[..., :1]).pool, np.full([2, 1], 3.0))
  assert brightness.name == "brightness" and len(brightness.checksum) == 64
  np.testing.assert_array_equal(features.load("power:2")(images).pool, np.full([2, 3], 9.0))
  with pytest.raises(
    settings.InputError,
    match=r"features: expected one of brightness, digits, the path .*, a power such as 'power:2', "
    r"random, the folder of a SavedModel.*, received power, which does not exist",
  ):
    features.load("power")


def test_an_extractor_must_return_pool_and_may_return_arrays(registered):
  class Arrays(registered):
    output = "pool"

    def compute(self, images):
      return {self.output: np.asarray(images, np.float32).mean(axis=(1, 2))}

  extractor = Arrays("arrays")
  images = np.full([2, 4, 4, 3], 3, np.uint8)
  np.testing.assert_array_equal(extractor(images).pool, np.full([2, 3], 3.0))
  extractor.output = "spatial"
  with pytest.raises(
    settings.InputError, match=r"features: expected an extractor that returns 'po"
  ):
    extractor(images)


def test_without_a_choice_the_digits_are_for_their_own_shape():
  digits = features.for_images(None, (8, 8, 1))
  assert digits.name == "digits" and features.note_of_default(digits) is None
  others = features.for_images(None, (32, 32, 3))
  assert others.name == "random" and "https://" in features.note_of_default(others)


def test_images_of_another_shape_are_refused():
  with pytest.raises(
    settings.InputError, match=r"features: .* 32x32x3, received digits, which takes 8x8x1"
  ):
    features.for_images("digits", (32, 32, 3))
  with pytest.raises(settings.InputError, match="8x8x3, received digits, which takes 8x8x1"):
    features.for_images("digits", (8, 8, 3))


def test_texts_that_choose_nothing_are_refused(tmp_path):
  with pytest.raises(settings.InputError, match=r"no/such\.pb, which does not exist.*https://"):
    features.load("no/such.pb")
  (tmp_path / "notes.txt").write_text("text")
  with pytest.raises(settings.InputError, match=r"notes\.txt, which is none of them"):
    features.load(str(tmp_path / "notes.txt"))


def test_batches_are_of_the_positions_in_order():
  images = np.arange(10, dtype=np.uint8)[:, None, None, None]
  batches = features.batches(
    lambda batch: batch.ravel().tolist(),
    images,
    np.array([7, 1, 3]),
    batch_size=2,
    description="",
    progress=progress_lib.Silent(),
  )
  assert list(batches) == [[7, 1], [3]]
