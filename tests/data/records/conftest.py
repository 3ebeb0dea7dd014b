"""Fixtures of the tests of records."""

import shutil

import pytest

from tests.data.records import small_records


@pytest.fixture(scope="session", name="drawn_pictures")
def fixture_drawn_pictures(tmp_path_factory):
  folder = tmp_path_factory.mktemp("drawn") / "pictures"
  small_records.draw_pictures(folder)
  return folder


@pytest.fixture(name="folder")
def fixture_folder(drawn_pictures, tmp_path):
  """A folder of 23 pictures in two classes, five of which are broken."""
  return shutil.copytree(drawn_pictures, tmp_path / "pictures")


@pytest.fixture(scope="session", name="prepared")
def fixture_prepared(drawn_pictures, tmp_path_factory):
  """The records of the pictures, which no test changes."""
  output = tmp_path_factory.mktemp("prepared") / "out"
  small_records.prepare(drawn_pictures, output)
  return output


@pytest.fixture(name="output")
def fixture_output(prepared, tmp_path):
  """The records of the pictures."""
  return shutil.copytree(prepared, tmp_path / "out")
