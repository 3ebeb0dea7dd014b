"""Options of the whole test suite."""


def pytest_addoption(parser):
  parser.addoption("--golden_dir", help="folder of golden numbers; unset: tests/golden")
  parser.addoption("--model_dir", help="a model of configs/digits.flags for tests/long; unset: trains one")
