"""Every test of the API shares the graphs of trainings with others."""

import pytest

import iddpm_tf as iddpm


@pytest.fixture(autouse=True)
def fixture_sharing(shared_graphs):
  """Makes the trainings of a test share their graphs."""


@pytest.fixture(name="model", scope="module")
def fixture_model(model_dir):
  """The small model with random weights."""
  return iddpm.load(model_dir)
