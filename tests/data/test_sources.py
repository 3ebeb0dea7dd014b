"""Sources: data of the caller's own, and what `load` returns for each kind of data."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.config import DataConfig
from iddpm_tf.data import batches
from iddpm_tf.data import sources

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)


class OnDisk:
  """Images that are neither an array nor convertible to one."""

  shape, dtype = IMAGES.shape, np.dtype(np.uint8)

  def __len__(self):
    return len(IMAGES)

  def __getitem__(self, index):
    return IMAGES[index]


def error_of(*arguments, **keywords):
  """Returns the message of the error that `from_arrays` raises."""
  with pytest.raises(settings.InputError) as caught:
    sources.from_arrays(*arguments, **keywords)
  return str(caught.value)


def test_images_without_labels_are_a_source_without_classes():
  source = sources.from_arrays(IMAGES)
  assert source.name == "arrays" and source.num_classes == 0 and source.class_names == ()
  assert source.images is IMAGES
  assert source.labels.dtype == np.int32 and source.labels.tolist() == [0] * 6


@pytest.mark.parametrize("labels", [[0, 2, 1, 0, 0, 1], np.uint8([0, 2, 1, 0, 0, 1])])
def test_labels_or_names_say_how_many_classes_there_are(labels):
  source = sources.from_arrays(IMAGES, labels, name="mine")
  assert source.name == "mine" and source.num_classes == 3
  assert source.labels.dtype == np.int32 and source.labels.tolist() == [0, 2, 1, 0, 0, 1]
  source = sources.from_arrays(IMAGES, labels, class_names=["ant", "bee", "cow", "dog"])
  assert source.num_classes == 4 and source.class_names == ("ant", "bee", "cow", "dog")


@pytest.mark.parametrize("images", [OnDisk(), IMAGES])
def test_some_images_are_evenly_spaced(images):
  source = sources.from_arrays(images, np.arange(6))
  for count in (0, 6, 7):
    assert sources.with_at_most(source, count) is source
  few = sources.with_at_most(source, 3)
  assert few.labels.tolist() == [0, 2, 4] and few.num_classes == 6
  assert few.name == "3 images of arrays"
  assert few.images.shape == (3, *IMAGES.shape[1:]) and few.images.dtype == np.uint8
  assert len(few.images) == 3 and isinstance(few.images, np.ndarray) == (images is IMAGES)
  np.testing.assert_array_equal(few.images[:], IMAGES[[0, 2, 4]])
  np.testing.assert_array_equal(few.images[np.array([2, 0])], IMAGES[[4, 0]])


@pytest.mark.parametrize(
  "images", [OnDisk(), list(IMAGES), tf.constant(IMAGES), IMAGES[::-1][::-1]]
)
def test_batches_for_training_come_from_anything_like_an_array(images):
  source = sources.from_arrays(images, np.arange(6))
  (batch,) = batches.training_batches(source, batch_size=6, seed=0).take(1).as_numpy_iterator()
  np.testing.assert_allclose(batch["image"], IMAGES[batch["label"]] / 127.5 - 1, atol=1e-6)


def test_wrong_arrays_are_refused_under_the_argument_s_name():
  message = error_of(IMAGES / 255)
  assert message.startswith("images: expected uint8 [N, H, W, C], received float64 [6, 4, 5, 3]")
  assert "values in [0, 1] become uint8" in message
  assert error_of(IMAGES[..., 0]).startswith("images: ") and error_of(IMAGES[:0])
  assert error_of(IMAGES, [0] * 5).startswith("labels: expected integers, one per image [6]")
  assert error_of(IMAGES, np.zeros(6)).startswith("labels: ")
  assert error_of(IMAGES, [0, 0, 0, 0, 0, -1]).endswith("received -1")
  assert error_of(IMAGES, [0, 1, 2, 3, 0, 0], class_names=["ant", "bee"]) == (
    "class_names: expected at least 4 names, one per class, since the largest label is 3, "
    "received 2"
  )
  assert error_of(IMAGES, class_names=["ant"]) == "class_names: requires labels"


def test_a_source_of_the_caller_is_checked():
  labels = np.array([0, 1, 2, 0, 1, 2], np.int32)
  source = sources.Source("mine", IMAGES, labels, 3)
  assert sources.checked(source) is source
  with pytest.raises(settings.InputError, match="labels of mine from 0 to 1, received 2"):
    sources.checked(source._replace(num_classes=2))
  with pytest.raises(settings.InputError, match=r"images of uint8, received float64 \(mine\)"):
    sources.checked(source._replace(images=IMAGES / 255))


@pytest.mark.parametrize("read", [sources.load, sources.open_listing])
def test_the_arrays_of_a_model_cannot_be_loaded_again(read):
  with pytest.raises(settings.InputError, match=r"^dataset: .* trained on arrays"):
    read(DataConfig(dataset=sources.ARRAYS), "train")


def test_photos_have_their_labels_and_names():
  source = sources.load(DataConfig(dataset="photos", image_size=16), "test")
  assert source.name == "photos" and source.num_classes == 2
  assert source.class_names == ("china", "flower") and set(source.labels) == {0, 1}
  assert source.images[:2].shape == (2, 16, 16, 3)


@pytest.mark.parametrize("dataset", ["photos", "digits", "lsun", "imagenet_npz", "mnist"])
def test_only_folders_and_records_have_a_split_val(dataset):
  message = f"^split: expected train or test, the splits that {dataset} may have, received 'val'$"
  with pytest.raises(settings.InputError, match=message):
    sources.load(DataConfig(dataset=dataset, image_size=8), "val")


def test_other_channels_than_the_data_has_are_refused():
  message = "^channels: expected 3, as photos has, or nothing, received 1$"
  with pytest.raises(settings.InputError, match=message):
    sources.load(DataConfig(dataset="photos", image_size=16, channels=1), "test")
  assert sources.load(DataConfig(dataset="photos", image_size=16, channels=3), "test")


@pytest.mark.parametrize("dataset", ["photos", "records"])
def test_data_that_is_ready_is_not_listed(dataset):
  for read in (sources.splits, lambda config: sources.open_listing(config, "train")):
    with pytest.raises(settings.InputError, match=f"'{dataset}', which needs no preparation"):
      read(DataConfig(dataset=dataset))


def test_only_tfds_needs_tensorflow():
  names = ("folder", "imagenet_npz", "lsun", "records", "photos", "arrays")
  assert not any(map(sources.needs_tensorflow, names))
  assert sources.needs_tensorflow("digits") and sources.needs_tensorflow("cifar10")
  code = (
    "import sys\n"
    "from iddpm_tf.data import inspection, sources\n"
    "from iddpm_tf.data.readers import folders, imagenet, lsun, photos\n"
    "from iddpm_tf.data.records import preparation, reading\n"
    "assert not {'tensorflow', 'tensorflow_datasets', 'keras'} & set(sys.modules)\n"
  )
  subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
  "dataset, split", [("photos", "test"), ("digits", "test"), ("arrays", None)]
)
def test_the_held_out_split_is_known_without_reading_it(dataset, split):
  assert sources.held_out_split(DataConfig(dataset=dataset)) == split
