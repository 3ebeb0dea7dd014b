"""Options of the whole test suite."""

# Before TensorFlow: it sets the environment that the commands run in, on which the last bits depend.
import trainers  # noqa: F401

# Folders of the files that take longest.
_FIRST = ("tests/training/", "tests/trainers/", "tests/serving/")


def pytest_collection_modifyitems(items):
  """They begin first: one of them alone at the end would leave the other processes idle."""
  items.sort(key=lambda item: not item.nodeid.startswith(_FIRST))


def pytest_addoption(parser):
  parser.addoption("--golden_dir", help="folder of golden numbers; unset: tests/golden")
  parser.addoption(
    "--model_dir", help="a model of configs/digits.flags for tests/long; unset: trains one"
  )
