"""Options of the whole test suite."""

# Before TensorFlow: it sets the environment that the commands run in, on which the last bits depend.
import trainers  # pylint: disable=unused-import


def pytest_addoption(parser):
  parser.addoption("--golden_dir", help="folder of golden numbers; unset: tests/golden")
  parser.addoption("--model_dir", help="a model of configs/digits.flags for tests/long; unset: trains one")
