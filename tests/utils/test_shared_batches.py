"""Batches that several processes make together: who makes which, and what if one is lost."""

import concurrent.futures
import json

import numpy as np
import pytest

from iddpm_tf.utils import cluster
from iddpm_tf.utils import progress as progress_lib
from iddpm_tf.utils import shared_batches

SILENT = progress_lib.Silent()
STARTS = range(0, 26, 4)  # Seven batches, the last of which is smaller.


def workers(number, count=3):
  return cluster.Cluster(tuple("abc"[:count]), number, "test")


class Worker:
  """A process that makes batches of `[start, start + 1, ...]` and of their squares."""

  def __init__(self, folder, number, *, count=3, key="key", progress=SILENT):
    self.batches = shared_batches.SharedBatches(
      folder, key, workers(number, count), progress=progress
    )
    self.made = []

  def make(self, starts):
    for start in starts:
      self.made.append(start)
      values = np.arange(start, min(start + 4, 26))
      yield values, values**2

  def share(self, name="a", *, for_all=False):
    self.batches.share(name, STARTS, 4, self.make, for_all=for_all)


@pytest.fixture(name="impatient")
def fixture_impatient(monkeypatch):
  monkeypatch.setattr(shared_batches, "_PATIENCE", 0.05)
  monkeypatch.setattr(shared_batches, "_POLL_SECONDS", 0.01)


def require_all(batches, name="a"):
  values, squares = batches.load(name, STARTS)
  np.testing.assert_array_equal(values, np.arange(26))
  np.testing.assert_array_equal(squares, np.arange(26) ** 2)


def test_each_worker_makes_every_third_batch(tmp_path):
  made = []
  for number in (2, 1, 0):  # The chief waits for the others.
    worker = Worker(tmp_path, number)
    worker.share()
    made.append(worker.made)
  assert made == [[8, 20], [4, 16], [0, 12, 24]]
  require_all(worker.batches)
  worker.batches.clear()
  assert list(tmp_path.iterdir()) == []


def test_the_chief_waits_for_a_slow_worker(tmp_path, monkeypatch):
  monkeypatch.setattr(shared_batches, "_POLL_SECONDS", 0.01)
  with concurrent.futures.ThreadPoolExecutor() as threads:
    chief = Worker(tmp_path, 0, count=2)
    done = threads.submit(chief.share)
    assert not concurrent.futures.wait([done], timeout=0.2).done
    Worker(tmp_path, 1, count=2).share()
    done.result(timeout=30)
  assert chief.made == [0, 8, 16, 24]
  require_all(chief.batches)


def test_the_chief_makes_the_batches_of_a_lost_worker(tmp_path, impatient, recorder):
  Worker(tmp_path, 1).share()
  chief = Worker(tmp_path, 0, progress=recorder)
  chief.share()
  assert chief.made == [0, 12, 24, 8, 20]
  assert sum("no worker has made a batch for" in line for line in recorder.lines) == 2
  require_all(chief.batches)


def test_all_workers_get_all_batches_where_they_need_them(tmp_path, monkeypatch):
  monkeypatch.setattr(shared_batches, "_POLL_SECONDS", 0.01)
  both = [Worker(tmp_path, number, count=2) for number in (0, 1)]
  with concurrent.futures.ThreadPoolExecutor() as threads:
    for done in [threads.submit(each.share, for_all=True) for each in both]:
      done.result(timeout=30)
  assert [worker.made for worker in both] == [[0, 8, 16, 24], [4, 12, 20]]
  for worker in both:
    require_all(worker.batches)


def test_a_worker_whose_chief_is_lost_makes_the_rest(tmp_path, impatient):
  worker = Worker(tmp_path, 1, count=2)
  worker.share(for_all=True)
  require_all(worker.batches)


def test_a_stopped_command_continues_with_its_batches(tmp_path):
  first = Worker(tmp_path, 0, count=2)
  Worker(tmp_path, 1, count=2).share()
  first.share()
  again = Worker(tmp_path, 0, count=2)
  again.share()
  assert again.made == []
  require_all(again.batches)
  other = Worker(tmp_path, 0, count=2, key=["other", {"key": 1}])
  assert other.batches.folder != first.batches.folder


def test_a_worker_that_the_chief_did_not_wait_for_is_told(tmp_path, impatient):
  late = Worker(tmp_path, 1, count=2)
  chief = Worker(tmp_path, 0, count=2)
  chief.share()
  # Between two batches of the late worker, and before its first.
  with pytest.raises(shared_batches.ChiefFinished, match="the chief has finished without worker 1"):

    def make(starts):
      for number, arrays in enumerate(late.make(starts)):
        if number == 1:
          chief.batches.clear()
        yield arrays

    late.batches.share("b", STARTS, 4, make)
  for call in (late.share, lambda: late.batches.load("a", STARTS)):
    with pytest.raises(shared_batches.ChiefFinished):
      call()


def test_one_process_makes_all_batches():
  made = []

  def make(starts):
    for start in starts:
      made.append(start)
      yield

  shared_batches.share_out(
    STARTS, 4, None, make=make, is_made=lambda start: start in (4, *made), progress=SILENT
  )
  assert made == [0, 8, 12, 16, 20, 24]


def test_the_order_of_a_keys_settings_does_not_matter(tmp_path):
  key = {"a": 1, "b": [2]}
  folders = {
    Worker(tmp_path, 0, key=each).batches.folder for each in (key, json.loads('{"b": [2], "a": 1}'))
  }
  assert len(folders) == 1
