"""Records by Apache Beam, as far as this can be tested without it.

tests/long/test_beam.py has the rest.
"""

import importlib
import threading

import pytest

from iddpm_tf import settings
from iddpm_tf.data import decoding
from iddpm_tf.data import sources
from iddpm_tf.data.records import beam
from iddpm_tf.data.records import preparation
from tests.data.records.small_records import COUNT
from tests.data.records.small_records import config_of
from tests.data.records.small_records import contents


def prepare(folder, output, runner):
  return preparation.prepare(
    config_of(folder), output, splits=("train",), shard_size=4, unreadable="skip", runner=runner
  )


@pytest.fixture(name="no_beam")
def fixture_no_beam(monkeypatch):
  """Beam is not installed."""
  import_module = importlib.import_module

  def fail(name):
    if name.startswith("apache_beam"):
      raise ImportError(name)
    return import_module(name)

  monkeypatch.setattr(importlib, "import_module", fail)


@pytest.fixture(name="in_threads")
def fixture_in_threads(monkeypatch):
  """Replaces Beam by a pool that makes each shard in a thread of its own, the last one twice."""

  def run(maker, elements, runner):
    assert runner.name == "direct"
    threads = [
      threading.Thread(target=maker.make, args=element) for element in [*elements, elements[-1]]
    ]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()

  monkeypatch.setattr(beam, "require", lambda runner: None)
  monkeypatch.setattr(beam, "_run", run)


def test_without_beam_one_line_names_the_extra(folder, tmp_path, no_beam):
  with pytest.raises(settings.InputError) as caught:
    prepare(folder, tmp_path / "out", beam.BeamRunner())
  assert str(caught.value) == (
    "runner: expected the package apache-beam; run once: pip install 'iddpm_tf[beam]'"
  )
  assert not (tmp_path / "out").exists()


def test_shards_of_other_processes_are_those_of_one(folder, prepared, tmp_path, in_threads):
  assert prepare(folder, tmp_path / "out", beam.BeamRunner()) == {"train": 18}
  assert contents(tmp_path / "out") == contents(prepared)


def test_an_interrupted_preparation_continues(folder, prepared, tmp_path, in_threads, monkeypatch):
  output, run = tmp_path / "out", beam._run
  made = []

  def stop_after_two(maker, elements, runner):
    made.extend(elements)
    run(maker, elements[:2], runner)
    raise KeyboardInterrupt

  monkeypatch.setattr(beam, "_run", stop_after_two)
  with pytest.raises(KeyboardInterrupt):
    prepare(folder, output, beam.BeamRunner())
  assert len(made) == 6 and not (output / "index.json").exists()
  # What a worker that was killed has left.
  (output / "train/.0123abcd-images-00003-of-00006.npy").write_bytes(b"x")
  made.clear()
  monkeypatch.setattr(beam, "_run", lambda *call: made.extend(call[1]) or run(*call))
  prepare(folder, output, beam.BeamRunner())
  assert [element[1] for element in made] == [2, 3, 4, 5]
  assert contents(output) == contents(prepared)


def test_progress_counts_the_pictures_of_finished_shards(folder, tmp_path, in_threads, recorder):
  preparation.prepare(
    config_of(folder),
    tmp_path / "out",
    splits=("train",),
    shard_size=4,
    unreadable="skip",
    runner=beam.BeamRunner(),
    progress=recorder,
  )
  assert recorder.done == COUNT


def test_workers_without_the_folder_are_told_apart(folder, tmp_path, in_threads, monkeypatch):
  monkeypatch.setattr(beam, "_run", lambda *_: None)
  with pytest.raises(settings.InputError, match="runner: expected workers that write to"):
    prepare(folder, tmp_path / "out", beam.BeamRunner())


def test_a_worker_refuses_other_pictures(folder, tmp_path):
  config = config_of(folder)
  maker = beam.ShardMaker(
    config, tmp_path, {"train": "another digest"}, decoding.Form(4, "bicubic", 3), (4, 4, 3), "a"
  )
  with pytest.raises(settings.InputError, match="data_dir: expected the same pictures on all"):
    maker.make("train", 0, 1, 0, COUNT)


def test_a_worker_refuses_pictures_of_another_size(folder, tmp_path):
  config = config_of(folder)
  digest = sources.open_listing(config, "train").digest()
  maker = beam.ShardMaker(
    config, tmp_path, {"train": digest}, decoding.Form(4, "bicubic", 3), (5, 4, 3), "a.png"
  )
  (tmp_path / "train").mkdir()
  with pytest.raises(settings.InputError, match=r"their sizes differ: 5x4 \(a.png\), 4x4"):
    maker.make("train", 0, 1, 0, COUNT)
  assert list((tmp_path / "train").iterdir()) == []


def test_a_shard_that_is_made_twice_at_once_is_whole(folder, prepared, tmp_path, monkeypatch):
  """Beam gives the work of a machine that seems to be lost to another one."""
  config, outcomes = config_of(folder), decoding.outcomes
  digest = sources.open_listing(config, "train").digest()
  maker = beam.ShardMaker(
    config, tmp_path, {"train": digest}, decoding.Form(4, "bicubic", 3), (4, 4, 3), "a.png"
  )
  (tmp_path / "train").mkdir()
  shard = ("train", 3, 6, 12, 16)

  def interrupted(*arguments, **options):
    monkeypatch.setattr(decoding, "outcomes", outcomes)
    for number, outcome in enumerate(outcomes(*arguments, **options)):
      yield outcome
      if number == 1:
        maker.make(*shard)

  monkeypatch.setattr(decoding, "outcomes", interrupted)
  maker.make(*shard)
  made = contents(tmp_path / "train")
  assert len(made) == 3
  assert made.items() <= contents(prepared / "train").items()


@pytest.mark.parametrize(
  "text, expected",
  [
    (
      "Traceback (most recent call last):\n  File ...\nRuntimeError: refused: image_size: expected "
      "a size, received none [while running 'make']\n",
      "image_size: expected a size, received none",
    ),
    (
      "Traceback\nOSError: [Errno 28] No space left on device [while running 'make']",
      "runner: expected a pipeline that succeeds, received an error of direct: OSError: [Errno 28] "
      "No space left on device",
    ),
    ("", "runner: expected a pipeline that succeeds, received an error of direct: RuntimeError"),
  ],
)
def test_an_error_of_a_worker_is_one_line(
  folder, tmp_path, in_threads, monkeypatch, text, expected
):
  def fail(*_):
    raise RuntimeError(text)

  monkeypatch.setattr(beam, "_run", fail)
  with pytest.raises(settings.InputError) as caught:
    prepare(folder, tmp_path / "out", beam.BeamRunner())
  assert str(caught.value) == expected


def test_options_of_runners():
  local = beam.BeamRunner(workers=2, options=("a=b",))
  assert local.arguments() == ["--direct_num_workers=2", "--a=b"]
  flink = beam.BeamRunner("FlinkRunner", options=("flink_master=a:1", "streaming"))
  assert flink.arguments() == ["--flink_master=a:1", "--streaming"]
  for values, name in (
    ({"name": ""}, "runner"),
    ({"workers": -1}, "workers"),
    ({"options": ("--flink_master=a",)}, "beam_options"),
  ):
    with pytest.raises(settings.InputError, match=f"^{name}: expected"):
      beam.BeamRunner(**values)
