"""The scheduler: which tasks are run, in which order, and which are run again."""

import dataclasses
import json
import shutil

import pytest

from trainers.reproduction import executors
from trainers.reproduction import records
from trainers.reproduction import scheduler as scheduler_lib
from trainers.reproduction import shared_tasks
from trainers.reproduction import tasks as tasks_lib

TRAINING = tasks_lib.TrainingTask("small_seed0", "configs/digits.flags", ("--seed=0",), 20)
EVALUATION = tasks_lib.EvaluationTask("small_seed0_nll", TRAINING, ("--nll",))


class FakeCommands:
  """Writes the files that commands write.

  Attributes:
    finished: the commands so far.
    stop_at: the number of commands after which it is interrupted.
    status: the exit status of all commands.
  """

  def __init__(self, output):
    self.output, self.finished, self.stop_at, self.status = output, [], None, 0

  def __call__(self, command, arguments):
    flags = dict(
      argument.removeprefix("--").split("=", 1) for argument in arguments if "=" in argument
    )
    if len(self.finished) == self.stop_at:
      raise KeyboardInterrupt
    self.finished.append(command)
    if self.status:
      return self.status
    if command == "train":
      folder = self.output / "models" / flags["model_dir"].rsplit("/", 1)[1] / "checkpoints"
      folder.mkdir(parents=True, exist_ok=True)
      for step in (flags["train_steps"], flags.get("keep_every", flags["train_steps"])):
        (folder / f"step-{step}.index").touch()
    else:
      folder = self.output / "measurements" / flags["output_dir"].rsplit("/", 1)[1]
      folder.mkdir(parents=True, exist_ok=True)
      result = {"training_step": TRAINING.newest_step(self.output), "scores": {"nll": 3.5}}
      with open(folder / "results.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    return 0


def run(tasks, output, commands):
  list(scheduler_lib.Scheduler(tasks, output).run(executors.InProcess(commands)))


def rename(task, name, **changes):
  return dataclasses.replace(task, name=name, **changes)


@pytest.fixture(name="commands")
def fixture_commands(tmp_path):
  return FakeCommands(tmp_path)


def test_tasks_that_are_done_are_not_run_again(commands, tmp_path):
  tasks = scheduler_lib.with_trainings([EVALUATION, EVALUATION])
  assert tasks == [TRAINING, EVALUATION]
  run(tasks, tmp_path, commands)
  run(tasks, tmp_path, commands)
  assert commands.finished == ["train", "evaluate"]
  assert EVALUATION.score(tmp_path, "nll") == 3.5


def test_a_model_in_mid_training_is_not_trained_again(commands, tmp_path, capsys):
  whole = dataclasses.replace(TRAINING, kept_step=8)
  mid = shared_tasks.mid_training(whole)
  tasks = scheduler_lib.with_trainings([rename(EVALUATION, "small_mid_seed0_nll", training=mid)])
  assert tasks[:2] == [whole, mid]
  scheduler = scheduler_lib.Scheduler(tasks[:2], tmp_path)
  assert scheduler.unfinished() == [whole]
  list(scheduler.run(executors.InProcess(commands)))
  assert commands.finished == ["train"] and mid.is_done(tmp_path)
  assert capsys.readouterr().out.startswith("[1/1, ")


def test_a_model_past_its_middle_is_trained_up_to_it_once_more(commands, tmp_path, capsys):
  """Covers folders of an earlier version, whose trainings kept no checkpoint of their middle."""
  mid = shared_tasks.mid_training(TRAINING)
  tasks = scheduler_lib.with_trainings([rename(EVALUATION, "small_mid_seed0_nll", training=mid)])
  run(tasks[:2], tmp_path, commands)
  assert commands.finished == ["train", "train"]
  lines = capsys.readouterr().out.splitlines()
  assert [line.split(",")[0] for line in lines] == ["[1/1", "[2/2"]


def test_results_of_a_model_that_was_deleted_are_measured_again(commands, tmp_path):
  run([TRAINING, EVALUATION], tmp_path, commands)
  shutil.rmtree(TRAINING.folder(tmp_path))
  run([TRAINING, EVALUATION], tmp_path, commands)
  assert commands.finished == ["train", "evaluate"] * 2


def test_an_evaluation_is_repeated_for_another_checkpoint_or_other_flags(commands, tmp_path):
  run([TRAINING, EVALUATION], tmp_path, commands)
  longer = dataclasses.replace(TRAINING, train_steps=40)
  evaluation = dataclasses.replace(EVALUATION, training=longer)
  run([longer, evaluation], tmp_path, commands)
  assert commands.finished == ["train", "evaluate"] * 2
  run([longer, dataclasses.replace(evaluation, flags=("--nll", "--seed=1"))], tmp_path, commands)
  assert commands.finished == ["train", "evaluate"] * 2 + ["evaluate"]


def test_an_evaluation_of_another_model_of_the_same_name_does_not_count(commands, tmp_path):
  run([TRAINING, EVALUATION], tmp_path, commands)
  other = dataclasses.replace(TRAINING, flags=("--seed=0", "--dropout=0.1"))
  records.path(tmp_path, TRAINING.name).unlink()
  run([other, dataclasses.replace(EVALUATION, training=other)], tmp_path, commands)
  assert commands.finished == ["train", "evaluate"] * 2


def test_a_part_of_a_line_or_of_a_record_does_not_count(commands, tmp_path):
  run([TRAINING, EVALUATION], tmp_path, commands)
  path = EVALUATION.folder(tmp_path) / "results.jsonl"
  path.write_text(path.read_text()[:20])
  assert not EVALUATION.is_done(tmp_path)
  records.path(tmp_path, TRAINING.name).write_text("{")
  assert not TRAINING.is_done(tmp_path)


@pytest.mark.parametrize("stop_at", range(4))
def test_a_run_that_was_killed_anywhere_is_continued(commands, tmp_path, stop_at):
  second = rename(TRAINING, "small_seed1")
  tasks = scheduler_lib.with_trainings(
    [EVALUATION, rename(EVALUATION, "small_seed1_nll", training=second)]
  )
  commands.stop_at = stop_at
  with pytest.raises(KeyboardInterrupt):
    run(tasks, tmp_path, commands)
  commands.stop_at = None
  run(tasks, tmp_path, commands)
  assert commands.finished == ["train", "train", "evaluate", "evaluate"]
  assert all(task.is_done(tmp_path) for task in tasks)


def test_a_command_that_fails_ends_the_run(commands, tmp_path):
  commands.status = 2
  with pytest.raises(scheduler_lib.TaskFailed) as error:
    run([TRAINING, EVALUATION], tmp_path, commands)
  assert error.value.status == 2
  assert commands.finished == ["train"] and not TRAINING.is_done(tmp_path)


def test_a_command_without_results_is_not_repeated_for_ever(tmp_path):
  with pytest.raises(ValueError, match=r"small_seed0: expected results in .*models/small_seed0"):
    run([TRAINING], tmp_path, lambda *_: 0)


def test_two_tasks_of_one_name_are_refused(tmp_path):
  with pytest.raises(ValueError, match="received two for small_seed0"):
    run([TRAINING, dataclasses.replace(TRAINING, train_steps=30)], tmp_path, None)


def test_progress_and_the_time_left(commands, tmp_path, capsys):
  second = rename(EVALUATION, "small_seed1_nll", training=rename(TRAINING, "small_seed1"))
  tasks = scheduler_lib.with_trainings([EVALUATION, second])
  run(tasks, tmp_path, commands)
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == "[1/4, time left: unknown] small_seed0"
  assert lines[1].startswith("[2/4, time left: ") and lines[1].endswith(" min] small_seed1")
  for task, seconds in zip(tasks, (100.0, 140.0, 10.0, 10.0)):
    records.write(tmp_path, task.name, [task.command], seconds=seconds, resumed=False)
  # The mean of the same group with any seed, else of the same command, else of all tasks (65 s).
  small, large = rename(TRAINING, "small_seed2"), rename(TRAINING, "large_seed0")
  evaluation, grid = rename(EVALUATION, "other"), tasks_lib.SamplingTask("grid", TRAINING, ())
  assert scheduler_lib.seconds_left([small, large, evaluation], tmp_path) == 120 + 120 + 10
  assert scheduler_lib.seconds_left([small, grid], tmp_path, workers=2) == (120 + 65) / 2


def test_a_resumed_training_does_not_count_for_the_time_left(commands, tmp_path):
  folder = TRAINING.folder(tmp_path) / "checkpoints"
  folder.mkdir(parents=True)
  (folder / "step-10.index").touch()
  run([TRAINING], tmp_path, commands)
  assert scheduler_lib.seconds_left([TRAINING], tmp_path) is None
