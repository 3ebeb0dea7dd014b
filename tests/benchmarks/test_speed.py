"""The command `benchmarks.speed`, without PyTorch."""

import dataclasses
import json
from typing import ClassVar

import pytest

from benchmarks import speed
from benchmarks.speed_comparison import contestants
from benchmarks.speed_comparison import growth
from benchmarks.speed_comparison import processes
from benchmarks.speed_comparison import running
from iddpm_tf import config as config_lib


def works(*names):
  chosen = [each for each in contestants.contestants(compiled=True) if each.name in names]
  return [contestants.Work(each, contestants.NETWORKS["tiny"], 8, 4, 2, 1) for each in chosen]


@pytest.mark.parametrize("name", ["cifar10", "imagenet64"])
def test_the_network_is_that_of_the_flagfile(name):
  config = config_lib.Config.from_flagfile(f"configs/{name}.flags")
  network = contestants.NETWORKS[name]
  for name in ("base_channels", "channel_multipliers", "num_res_blocks", "num_heads", "dropout"):
    assert getattr(network, name) == getattr(config.network, name), name
  assert network.attention_resolutions == config.network.attention_resolutions
  assert config.diffusion.diffusion_steps == contestants.DIFFUSION_STEPS
  assert config.training.ema == (contestants.EMA,)
  assert config.training.learning_rate == contestants.LEARNING_RATE


def test_names_and_titles_are_unique():
  everyone = contestants.contestants(compiled=True)
  assert len(everyone) == len({each.name for each in everyone}) == 12
  assert len({each.title for each in everyone}) == 12
  assert len(contestants.contestants(compiled=False)) == 8


def test_work_travels_as_json():
  for work in works("here_float32", "pytorch_bfloat16_channels_last_compiled"):
    assert contestants.Work.from_json(json.loads(json.dumps(work.to_json()))) == work


def test_growth_has_points_along_seven_axes():
  (work,) = works("here_bfloat16")
  assert len(list(growth.points(work))) == 14
  points = list(growth.points(dataclasses.replace(work, network=contestants.NETWORKS["cifar10"])))
  assert len({axis for axis, _, _ in points}) == 7 and len(points) == 32
  chosen = ("replicas", "microbatches with remat")
  parts = [each for _, _, each in growth.points(work, chosen)]
  assert [(each.replicas, each.microbatches, each.remat) for each in parts] == [
    (1, 1, False),
    (2, 1, False),
    (1, 1, True),
    (1, 2, True),
  ]
  assert [value for axis, value, _ in points if axis == "pixels"] == [32, 64, 96, 128]
  for axis, value, each in points:
    network = each.network
    assert set(network.attention_resolutions) <= set(network.heights), (axis, value)


@pytest.mark.parametrize(
  "flags, line",
  [
    (("--threads=1000",), "--threads: expected 0 to"),
    (("--rounds=0",), "--rounds: expected"),
    (("--sampling_steps=5000",), "--sampling_steps: expected at most 4000, received 5000"),
    (("--network=large",), "--network: expected one of cifar10, imagenet64, tiny, received"),
    (("--axes=time", "--growth"), "--axes: expected one of batch size, pixels, "),
    (("--axes=pixels",), "--axes: expected none without growth, received pixels"),
    (("--contestants=mxnet",), "--contestants: expected one of here_float32, "),
    (("--contestants=pytorch_float32_compiled", "--nocompile"), "--contestants: expected one of"),
  ],
)
def test_wrong_flags_are_refused_in_one_line(flags, line, capsys, tmp_path):
  assert speed.COMMAND.run(["speed", f"--output_dir={tmp_path}", *flags]) == 2
  error = capsys.readouterr().err
  assert error.count("\n") == 1 and f"speed: {line}" in error
  assert not list(tmp_path.iterdir())


class FakeProcess:
  """A worker process that takes the seconds that its name says, and may fail at a measure."""

  asked: ClassVar[list] = []

  def __init__(self, work, folder):
    del folder
    self.name = work.contestant.name

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()

  def close(self):
    pass

  def ask(self, do, **values):
    self.asked.append((self.name, do, values.get("measure")))
    if do == "about":
      return {"parameters": 1}
    if do == "memory":
      return {"peak": 3, "recent_peak": 2}
    if do == "first":
      return {"seconds": 9.0}
    if "compiled" in self.name and values["measure"] == "sampling":
      raise processes.WorkerError("its process ended")
    return {"seconds": [1.0] * values["count"]}


def test_contestants_are_measured_in_turn(monkeypatch, tmp_path):
  monkeypatch.setattr(processes, "Process", FakeProcess)
  monkeypatch.setattr(FakeProcess, "asked", [])
  monkeypatch.setattr(running, "_PAUSE", 0.0)
  measures = ("forward", "training", "sampling", "likelihood")
  rounds = dict.fromkeys(measures, running.Rounds(3, 2, 1))
  saved = []
  results = running.compare(
    works("here_float32", "pytorch_float32_compiled", "floor_float32"),
    rounds,
    tmp_path,
    saved.append,
    lambda text: None,
  )
  here, compiled, floor = results.values()
  assert here["forward"] == here["sampling"] == [[1.0, 1.0]] * 3
  assert here["evaluation"] == [[0.5, 0.5]] * 3
  assert (here["first_image"], here["first_step"]) == (9.0, 9.0)
  assert (here["peak_memory"], here["peak_memory_of_steps"]) == (3, 2)
  assert compiled["error"] == "its process ended" and "sampling" not in compiled
  assert "forward" in floor and "training" in floor and "sampling" not in floor
  assert saved
  forward = [name for name, _, measure in FakeProcess.asked if measure == "forward"]
  names = list(results)
  assert forward == names + names[1:] + names[:1] + names[2:] + names[:2]


def test_a_worker_process_measures_this_project(tmp_path):
  (work,) = works("here_float32")
  with processes.Process(work, tmp_path) as process:
    assert process.ask("first", measure="forward")["seconds"] > 0
    answer = process.ask("measure", measure="forward", count=2, warm_up=0)
    assert len(answer["seconds"]) == 2 and min(answer["seconds"]) > 0
    assert process.ask("about")["parameters"] == 757_030
    assert process.ask("memory")["peak"] > 2**27
    with pytest.raises(processes.WorkerError, match="KeyError: 'flight'"):
      process.ask("measure", measure="flight", count=1, warm_up=0)
    assert process.ask("memory")["peak"] > 2**27, "An error ends nothing."
