"""Tasks: their names, commands, and what is done again."""

import json

import pytest

from trainers.reproduction import scales
from trainers.reproduction import tasks as tasks_lib
from trainers.reproduction import workers
from trainers.reproduction import workshop

RUN = tasks_lib.Run("small_seed0", "configs/digits.flags", ("--seed=0",), 20)
SCORES = tasks_lib.Measurement("small_seed0_nll", RUN, ("--nll",))


class Machine:
  """Leaves the files that commands leave; dies before, or while, the n-th command."""

  def __init__(self, output):
    self.output, self.done, self.dies_at, self.status = output, [], None, 0

  def __call__(self, command, arguments):
    flags = dict(
      argument.removeprefix("--").split("=", 1) for argument in arguments if "=" in argument
    )
    if len(self.done) == self.dies_at:
      raise KeyboardInterrupt
    self.done.append(command)
    if self.status:
      return self.status
    if command == "train":
      folder = self.output / "models" / flags["model_dir"].rsplit("/", 1)[1] / "checkpoints"
      folder.mkdir(parents=True, exist_ok=True)
      (folder / f"step-{flags['train_steps']}.index").touch()
    else:
      folder = self.output / "measurements" / flags["output_dir"].rsplit("/", 1)[1]
      folder.mkdir(parents=True, exist_ok=True)
      with open(folder / "results.jsonl", "a", encoding="utf-8") as file:
        file.write(
          json.dumps({"training_step": RUN.step(self.output), "scores": {"nll": 3.5}}) + "\n"
        )
    return 0


def do(tasks, output, machine):
  list(workshop.Workshop(tasks, output).work(workers.Here(machine)))


@pytest.fixture(name="machine")
def fixture_machine(tmp_path):
  return Machine(tmp_path)


def test_a_task_is_one_exact_command(tmp_path):
  assert tasks_lib.shown(RUN, tmp_path) == (
    "python -m trainers.train --flagfile=configs/digits.flags --seed=0 --train_steps=20 "
    f"--model_dir={tmp_path}/models/small_seed0"
  )
  assert tasks_lib.shown(SCORES, tmp_path) == (
    f"python -m trainers.evaluate --model_dir={tmp_path}/models/small_seed0 --nll "
    f"--output_dir={tmp_path}/measurements/small_seed0_nll"
  )
  both = SCORES._replace(ends=RUN._replace(name="other"))
  assert f"--ensemble_dir={tmp_path}/models/other" in both.arguments(tmp_path)


def test_what_is_done_is_not_done_again(machine, tmp_path):
  tasks = workshop.needed([SCORES, SCORES])
  assert tasks == [RUN, SCORES]
  do(tasks, tmp_path, machine)
  do(tasks, tmp_path, machine)
  assert machine.done == ["train", "evaluate"]
  assert SCORES.score(tmp_path, "nll") == 3.5


def test_a_measurement_is_of_the_model_as_it_is_and_of_its_flags(machine, tmp_path):
  do([RUN, SCORES], tmp_path, machine)
  further = RUN._replace(train_steps=40)
  do([further, SCORES._replace(run=further)], tmp_path, machine)
  assert machine.done == ["train", "evaluate"] * 2
  other = SCORES._replace(run=further, flags=("--nll", "--seed=1"))
  do([further, other], tmp_path, machine)
  assert machine.done == ["train", "evaluate"] * 2 + ["evaluate"]


def test_a_line_that_a_kill_left_in_part_does_not_count(machine, tmp_path):
  do([RUN, SCORES], tmp_path, machine)
  path = SCORES.folder(tmp_path) / "results.jsonl"
  path.write_text(path.read_text()[:20])
  assert not SCORES.done(tmp_path)
  tasks_lib.record_path(RUN, tmp_path).write_text("{")
  assert not RUN.done(tmp_path)


@pytest.mark.parametrize("dies_at", range(4))
def test_killed_anywhere_it_goes_on(machine, tmp_path, dies_at):
  second = RUN._replace(name="small_seed1")
  tasks = workshop.needed([SCORES, SCORES._replace(name="small_seed1_nll", run=second)])
  machine.dies_at = dies_at
  with pytest.raises(KeyboardInterrupt):
    do(tasks, tmp_path, machine)
  machine.dies_at = None
  do(tasks, tmp_path, machine)
  assert machine.done == ["train", "train", "evaluate", "evaluate"]
  assert all(task.done(tmp_path) for task in tasks)


def test_a_command_that_fails_stops_all(machine, tmp_path):
  machine.status = 2
  with pytest.raises(workshop.Failed) as error:
    do([RUN, SCORES], tmp_path, machine)
  assert error.value.status == 2 and machine.done == ["train"] and not RUN.done(tmp_path)


def test_progress_and_the_time_left(machine, tmp_path, capsys):
  tasks = workshop.needed(
    [SCORES, SCORES._replace(name="small_seed1_nll", run=RUN._replace(name="small_seed1"))]
  )
  do(tasks, tmp_path, machine)
  first, second, *_ = capsys.readouterr().out.splitlines()
  assert first == "[1/4, time left: unknown] small_seed0"
  assert second.startswith("[2/4, time left: ") and second.endswith(" min] small_seed1")
  for task, seconds in zip(tasks, (100.0, 140.0, 10.0, 10.0)):
    tasks_lib.record_path(task, tmp_path).write_text(
      json.dumps({"record": [task.command], "seconds": seconds})
    )
  # Those like it, whatever the seed; the mean of its command for what is new, or of all, which is 65 s.
  small, large = RUN._replace(name="small_seed2"), RUN._replace(name="large_seed0")
  assert (
    workshop.seconds_left([small, large, SCORES._replace(name="other")], tmp_path) == 120 + 120 + 10
  )
  assert (
    workshop.seconds_left(
      [small, SCORES._replace(name="grid", command="sample")], tmp_path, workers=2
    )
    == (120 + 65) / 2
  )


def test_two_tasks_of_one_name_are_refused(tmp_path):
  with pytest.raises(ValueError, match="two of small_seed0"):
    do([RUN, RUN._replace(train_steps=30)], tmp_path, None)


def test_runs_of_a_scale_have_a_name_each_that_says_what_they_are():
  small, cifar10 = scales.SCALES["small"], scales.SCALES["cifar10"]
  runs = [
    scale.likelihood_run(row, seed)
    for scale in (small, cifar10)
    for row in scales.ROWS
    for seed in (0, 1)
  ]
  assert len({run.name for run in runs}) == len(runs)
  assert small.likelihood_run(scales.ROWS[4], 0).name == "photos_small_cosine_4k_hybrid_seed0"
  assert cifar10.likelihood_run(scales.ROWS[4], 0).flagfile == "configs/cifar10.flags"
  assert (
    cifar10.likelihood_run(scales.ROWS[0], 0).flagfile == "configs/table2_linear_1k_simple.flags"
  )


def test_a_measurement_of_another_model_of_the_same_name_does_not_count(machine, tmp_path):
  do([RUN, SCORES], tmp_path, machine)
  other = RUN._replace(flags=("--seed=0", "--dropout=0.1"))
  tasks_lib.record_path(RUN, tmp_path).unlink()
  do([other, SCORES._replace(run=other)], tmp_path, machine)
  assert machine.done == ["train", "evaluate"] * 2


def test_a_command_that_leaves_nothing_is_not_asked_for_ever(tmp_path):
  with pytest.raises(ValueError, match="small_seed0: expected results in .*models/small_seed0"):
    do([RUN], tmp_path, lambda *_: 0)


def test_a_training_that_went_on_is_no_measure_of_time(machine, tmp_path):
  folder = RUN.folder(tmp_path) / "checkpoints"
  folder.mkdir(parents=True)
  (folder / "step-10.index").touch()
  do([RUN], tmp_path, machine)
  assert workshop.seconds_left([RUN], tmp_path) is None


def test_commands_can_be_typed(tmp_path):
  shown = tasks_lib.shown(SCORES, tmp_path / "my out", ("--data_dir=/my data",))
  assert f"'--model_dir={tmp_path}/my out/models/small_seed0'" in shown and shown.endswith(
    "'--data_dir=/my data'"
  )
