"""Options of the test suite, commands that run in this process, and models that tests share."""

import contextlib
import ctypes
import dataclasses
import errno
import gc
import importlib
import os
import pathlib
import sys
import tempfile

import pytest

from iddpm_tf.utils import host

# Before TensorFlow: it sets the environment of the commands, on which the last bits depend.
import trainers  # noqa: F401
from trainers.cli import listing

_SERVING = "tests/serving/"
# Folders of the files that take longest.
_FIRST = ("tests/training/", "tests/trainers/", _SERVING)
_GRAPHS = pytest.StashKey()
# TensorFlow alone takes 0.5 GiB. Freed memory is not always returned to the system.
_MUCH_MEMORY, _MUCH_MORE = 2**31, 2**28  # 2 and 0.25 GiB.
_MEMORY_AFTER_FREEING = pytest.StashKey()
# Python's defaults search TensorFlow's objects for garbage so often that a graph takes 7% longer.
gc.set_threshold(20_000, 10, 10)


def pytest_collection_modifyitems(items):
  """Moves the longest tests to the front: alone at the end, they would leave a process idle."""
  items.sort(key=lambda item: not item.nodeid.startswith(_FIRST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
  """Returns what sends the tests of one file to one process, and so the tests of one server."""
  from xdist import scheduler

  class Scheduler(scheduler.LoadFileScheduling):
    def _split_scope(self, nodeid):
      return _SERVING if nodeid.startswith(_SERVING) else super()._split_scope(nodeid)

  return Scheduler(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_addoption(parser):
  parser.addoption("--golden_dir", help="folder of golden numbers; unset: tests/golden")
  parser.addoption(
    "--model_dir", help="a model of configs/digits.flags for tests/long; unset: trains one"
  )


@dataclasses.dataclass
class Result:
  """What a command has returned and printed."""

  status: int
  out: str
  err: str


@pytest.fixture(name="run")
def fixture_run(capfd):
  """Returns `run(name, *flags) -> Result`, which runs a command in this process."""

  def run(name, *flags):
    assert name in listing.commands()
    command = importlib.import_module(f"trainers.{name}").COMMAND
    capfd.readouterr()
    status = command.run([name, *map(str, flags)])
    return Result(status, *capfd.readouterr())

  return run


@pytest.fixture(name="read_only")
def fixture_read_only(monkeypatch):
  """Returns a function that lets a folder look as if its disk could only be read."""
  make_file = tempfile.TemporaryFile

  def make_read_only(folder):
    def make(*args, **options):
      if pathlib.Path(options["dir"]).is_relative_to(folder):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
      return make_file(*args, **options)

    monkeypatch.setattr(tempfile, "TemporaryFile", make)

  return make_read_only


@pytest.fixture(name="recorder")
def fixture_recorder():
  """A progress that keeps its lines and counts."""
  from tests import recorder

  return recorder.Recorder()


@pytest.fixture(name="graphs", scope="session")
def fixture_graphs(request):
  """The graphs that tests share."""
  from tests import shared_graphs

  graphs = shared_graphs.SharedGraphs()
  request.config.stash[_GRAPHS] = graphs
  return graphs


@pytest.fixture(name="shared_graphs")
def fixture_shared_graphs(graphs, monkeypatch):
  """Lets the trainings and the commands of a test share their graphs with those of other tests."""
  with graphs.used(monkeypatch):
    yield


@pytest.fixture(name="model_dir", scope="session")
def fixture_model_dir(tmp_path_factory):
  """The folder of a small model with random weights. Tests must not change it."""
  from tests import small_model

  return small_model.write(tmp_path_factory.mktemp("runs") / "small", small_model.make_config())


@pytest.fixture(name="classifier_dir", scope="session")
def fixture_classifier_dir(tmp_path_factory):
  """The folder of a small noisy classifier with random weights. Tests must not change it."""
  from tests import small_model

  config = small_model.make_classifier_config()
  return small_model.write(tmp_path_factory.mktemp("runs") / "classifier", config)


@pytest.fixture(name="trained_dir", scope="session")
def fixture_trained_dir(graphs, tmp_path_factory):
  """The folder of a run of ten steps. Tests must not change it."""
  from tests import small_model
  from trainers import train

  folder = tmp_path_factory.mktemp("runs") / "trained"
  flags = (*small_model.FLAGS, f"--train_steps={small_model.STEP}", "--save_every=5")
  with pytest.MonkeyPatch.context() as monkeypatch, graphs.used(monkeypatch):
    assert train.COMMAND.run(["train", *flags, f"--model_dir={folder}"]) == 0
  return folder


@pytest.fixture(autouse=True, scope="session")
def fixture_unoptimized_graphs():
  """Lets TensorFlow not optimize the graphs of tests, most of which run a few times only.

  Graphs are optimized, as a user's are, in `tests/parity`, whose numbers are those of the authors'
  code, and in most processes that tests start, such as servers and commands.
  """
  import tensorflow as tf

  tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.fixture(autouse=True, scope="module")
def fixture_freed_memory(request):
  """Frees the graphs of a file after its last test if the process has grown large.

  Always freeing them would take a second per file, and make the next file trace them again.
  """
  yield
  stash = request.config.stash
  limit = max(_MUCH_MEMORY, stash.get(_MEMORY_AFTER_FREEING, 0) + _MUCH_MORE)
  if "keras" in sys.modules and host.memory().used > limit:
    if _GRAPHS in stash:
      stash[_GRAPHS].clear()
    sys.modules["keras"].utils.clear_session()
    gc.collect()
    with contextlib.suppress(AttributeError, TypeError):  # Other C libraries lack it.
      ctypes.CDLL(None).malloc_trim(0)
    stash[_MEMORY_AFTER_FREEING] = host.memory().used
