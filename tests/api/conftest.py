"""Every test of the API shares the graphs of trainings with others."""

import pytest


@pytest.fixture(autouse=True)
def fixture_sharing(shared_graphs):
  """Makes the trainings of a test share their graphs."""
