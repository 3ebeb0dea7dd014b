"""Every test of the API shares the graphs of trainings with others."""

import pytest

from iddpm_tf.utils import progress as progress_lib


@pytest.fixture(autouse=True)
def fixture_sharing(shared_graphs):
  """Makes the trainings of a test share their graphs."""


class Recorder(progress_lib.Silent):
  """A progress that keeps what it is told."""

  def __init__(self):
    self.lines, self.total, self.done = [], 0, 0

  def say(self, text):
    self.lines.append(text)

  def bar(self, *, total, unit, initial=0, description=""):
    self.total += total - initial
    return self

  def update(self, n=1):
    self.done += n

  def set_postfix_str(self, s=""):
    pass

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass


@pytest.fixture(name="recorder")
def fixture_recorder():
  """A progress that keeps its lines and counts."""
  return Recorder()
