"""Fixtures of the tests of data."""

import pytest

from iddpm_tf.config import DataConfig
from iddpm_tf.data import sources


@pytest.fixture(scope="session", name="digits_dir")
def prepared_digits(tmp_path_factory):
  """A folder in which TFDS has prepared the digits."""
  folder = tmp_path_factory.mktemp("digits")
  sources.load(DataConfig(data_dir=str(folder)), "test")
  return str(folder)
