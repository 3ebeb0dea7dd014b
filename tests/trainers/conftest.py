"""Commands that run in this process share their graphs."""

import pytest

from tests import small_model

SMALL = small_model.FLAGS


@pytest.fixture(autouse=True)
def fixture_sharing(shared_graphs):
  """Makes every test of a command share its graphs with others."""
