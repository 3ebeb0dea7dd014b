"""TFDS data sets brought to a size: encoded pictures, decoded like any others."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from iddpm_tf.config import DataConfig
from iddpm_tf.data import sources


@pytest.fixture(scope="module", name="digits_dir")
def prepared_digits(tmp_path_factory):
  folder = tmp_path_factory.mktemp("digits")
  sources.load(DataConfig(data_dir=str(folder)), "test")
  return str(folder)


def test_digits_are_halved_by_averaging(digits_dir):
  whole = sources.load(DataConfig(data_dir=digits_dir), "test")
  half = sources.load(DataConfig(data_dir=digits_dir, image_size=4, resize="area"), "test")
  means = whole.images.reshape(-1, 4, 2, 4, 2, 1).mean(axis=(2, 4))
  np.testing.assert_array_equal(half.images, np.floor(means + 0.5))
  np.testing.assert_array_equal(half.labels, whole.labels)


def test_digits_as_a_list_begin_anywhere(digits_dir):
  config = DataConfig(data_dir=digits_dir)
  assert sources.splits(config) == ("train", "test")
  listing, whole = sources.open_listing(config, "test"), sources.load(config, "test")
  pictures = list(listing.pictures(300, 303))
  assert [picture.name for picture in pictures] == ["test[300]", "test[301]", "test[302]"]
  assert [picture.label for picture in pictures] == whole.labels[300:303].tolist()
  assert (
    listing.channels == 1 and listing.class_names == tuple("0123456789") and len(listing) == 360
  )


def test_varying_sizes_load_with_a_size(tmp_path):
  """In a process of its own, as TFDS mocks abort where they fail."""
  code = textwrap.dedent(f"""
      import tensorflow_datasets as tfds
      from iddpm_tf.config import DataConfig
      from iddpm_tf.data import sources
      with tfds.testing.mock_data(num_examples=5):
        for name in ("imagenet2012", "oxford_flowers102", "mnist"):
          config = DataConfig(dataset=name, data_dir={str(tmp_path)!r}, image_size=16)
          source = sources.load(config, "test")
          print(source.images.shape, source.images.dtype, source.labels.dtype, source.num_classes)
      """)
  result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
  assert result.returncode == 0, result.stderr[-500:]
  assert result.stdout.splitlines() == [
    f"(5, 16, 16, {channels}) uint8 int32 {classes}"
    for channels, classes in ((3, 1000), (3, 102), (1, 10))
  ]
