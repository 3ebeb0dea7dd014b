"""Tasks: their names, and their commands."""

import dataclasses
import hashlib
import json
import pathlib

import pytest

from trainers.reproduction import experiments
from trainers.reproduction import records
from trainers.reproduction import scales
from trainers.reproduction import scheduler
from trainers.reproduction import shared_tasks
from trainers.reproduction import tasks as tasks_lib

TRAINING = tasks_lib.TrainingTask("small_seed0", "configs/digits.flags", ("--seed=0",), 20)
OUTPUT = pathlib.Path("/nowhere")
EVALUATION = tasks_lib.EvaluationTask("small_seed0_nll", TRAINING, ("--nll",))
# What trainings that the first version of this code did not have, or had with other flags, have in
# their names: those of Figures 10 and 11, of section 3, of Table 5, of models in mid-training and
# of Figure 17 with further seeds, and at the small scale of Figure 16.
_LATER = (
  "_channels",
  "_small_batch",
  "_hybrid_resampled",
  "_log_variance",
  "_250_",
  "_stage_",
  "_mid_seed1",
  "_mid_seed2",
  "_dropout0.0_seed1",
  "_dropout0.0_seed2",
)
_LATER_AT_SMALL_SCALE = (*_LATER, "_overfitting")
# Digests of the records of the other trainings with the first seeds, and of all tasks. If the first
# of them changes, models in folders of earlier versions are trained anew.
DIGESTS = {
  "small": ("fcb0377677aa5015", "1b408db6b663954f"),
  "cifar10": ("90978ed704b4e7dc", "01dd242cbbdbe332"),
  "imagenet64": ("3057436713b83d9a", "584543bf06f05377"),
}


def all_tasks(scale):
  """All tasks of a scale, each once."""
  return dict.fromkeys(
    task
    for experiment in experiments.load_all().values()
    for task in scheduler.with_trainings(experiment.needs(scale))
  )


def test_a_task_is_one_exact_command(tmp_path):
  assert tasks_lib.command_line(TRAINING, tmp_path) == (
    "python -m trainers.train --flagfile=configs/digits.flags --seed=0 --train_steps=20 "
    f"--model_dir={tmp_path}/models/small_seed0"
  )
  assert tasks_lib.command_line(EVALUATION, tmp_path) == (
    f"python -m trainers.evaluate --model_dir={tmp_path}/models/small_seed0 --nll "
    f"--output_dir={tmp_path}/measurements/small_seed0_nll"
  )
  other = dataclasses.replace(TRAINING, name="other")
  ensemble = dataclasses.replace(EVALUATION, ensemble_with=other)
  assert f"--ensemble_dir={tmp_path}/models/other" in ensemble.arguments(tmp_path)


def test_a_model_in_mid_training_is_a_checkpoint_of_the_whole_training(tmp_path):
  whole = dataclasses.replace(TRAINING, kept_step=8)
  mid = shared_tasks.mid_training(whole)
  assert {"--save_every=8", "--keep_every=8"} <= set(whole.arguments(tmp_path))
  assert whole.record(tmp_path) == TRAINING.record(tmp_path)
  finish(whole, tmp_path, 8, 20)
  assert mid.is_done(tmp_path) and mid.newest_step(tmp_path) == 8
  evaluation = dataclasses.replace(EVALUATION, training=mid)
  assert evaluation.arguments(tmp_path)[:2] == (
    f"--model_dir={tmp_path}/models/small_seed0",
    "--step=8",
  )
  assert tasks_lib.with_commands([whole, mid], tmp_path) == [whole]


def test_a_folder_without_the_checkpoint_trains_the_model_in_mid_training(tmp_path):
  """Such is a folder of an earlier version, and the results of its models stay valid."""
  whole = dataclasses.replace(TRAINING, kept_step=8)
  mid = shared_tasks.mid_training(whole)
  finish(whole, tmp_path, 20)
  assert not mid.is_done(tmp_path)
  assert tasks_lib.with_commands([whole, mid], tmp_path) == [whole, mid]
  assert tasks_lib.command_line(mid, tmp_path) == (
    "python -m trainers.train --flagfile=configs/digits.flags --seed=0 --train_steps=8 "
    f"--model_dir={tmp_path}/models/small_mid_seed0"
  )
  finish(mid, tmp_path, 8)
  assert mid.is_done(tmp_path)
  evaluation = dataclasses.replace(EVALUATION, training=mid)
  assert evaluation.arguments(tmp_path)[0] == f"--model_dir={tmp_path}/models/small_mid_seed0"
  assert evaluation.record(tmp_path)[-1] == (
    "small_mid_seed0 at step 8: train configs/digits.flags --seed=0 8"
  )


def test_a_training_that_is_not_done_has_no_model_in_mid_training_yet(tmp_path):
  mid = shared_tasks.mid_training(dataclasses.replace(TRAINING, kept_step=8))
  checkpoints = tmp_path / "models" / TRAINING.name / "checkpoints"
  checkpoints.mkdir(parents=True)
  (checkpoints / "step-8.index").touch()
  assert not mid.is_done(tmp_path)


def finish(training, output, *steps):
  """Makes what a finished training leaves."""
  checkpoints = training.folder(output) / "checkpoints"
  checkpoints.mkdir(parents=True)
  for step in steps:
    (checkpoints / f"step-{step}.index").touch()
  records.write(output, training.name, training.record(output), seconds=1.0, resumed=False)


def test_parts_of_a_batch_do_not_make_results_old(tmp_path):
  """A larger model of the same folder may need more of them."""
  split = dataclasses.replace(TRAINING, flags=("--microbatches=4", *TRAINING.flags))
  finish(TRAINING, tmp_path, 20)
  assert split.is_done(tmp_path)
  result = {"training_step": 20, "scores": {"nll": 3.0}}
  EVALUATION.folder(tmp_path).mkdir(parents=True)
  (EVALUATION.folder(tmp_path) / "results.jsonl").write_text(json.dumps(result) + "\n")
  record = EVALUATION.record(tmp_path)
  records.write(tmp_path, EVALUATION.name, record, seconds=1.0, resumed=False)
  assert dataclasses.replace(EVALUATION, training=split).is_done(tmp_path)
  other = dataclasses.replace(TRAINING, flags=("--seed=0", "--batch_size=4"))
  assert not dataclasses.replace(EVALUATION, training=other).is_done(tmp_path)


def test_commands_can_be_typed_in_a_shell(tmp_path):
  line = tasks_lib.command_line(EVALUATION, tmp_path / "my out", ("--data_dir=/my data",))
  assert f"'--model_dir={tmp_path}/my out/models/small_seed0'" in line
  assert line.endswith("'--data_dir=/my data'")


def test_data_flags_are_given_to_commands_that_read_data(tmp_path):
  sampling = tasks_lib.SamplingTask("small_seed0_samples", TRAINING, ("--num_samples=4",))
  flags = {
    task.command: "--data_dir=data" in tasks_lib.arguments(task, tmp_path, ("--data_dir=data",))
    for task in (TRAINING, EVALUATION, sampling)
  }
  assert flags == {"train": True, "evaluate": True, "sample": False}


def test_trainings_of_a_scale_have_distinct_names_that_say_what_they_are():
  small, cifar10 = scales.SCALES["small"], scales.SCALES["cifar10"]
  trainings = [
    models.training(row, seed)
    for models in (small.likelihood_models, small.fid_models, cifar10.likelihood_models)
    for row in scales.ROWS
    for seed in (0, 1)
  ]
  assert len({training.name for training in trainings}) == len(trainings)
  hybrid = small.likelihood_models.training(scales.COSINE_HYBRID, 0)
  assert hybrid.name == "photos_small_cosine_4k_hybrid_seed0"
  models = cifar10.likelihood_models
  assert models.flagfile(scales.COSINE_HYBRID) == "configs/cifar10.flags"
  assert models.flagfile(scales.ROWS[0]) == "configs/table2_linear_1k_simple.flags"


@pytest.mark.parametrize("scale", scales.SCALES.values(), ids=lambda scale: scale.name)
def test_tasks_of_a_scale_have_distinct_names_and_existing_flagfiles(scale):
  tasks = all_tasks(scale)
  assert len({task.name for task in tasks}) == len(tasks)
  root = pathlib.Path(__file__).parents[3]
  for task in tasks:
    if isinstance(task, tasks_lib.TrainingTask):
      assert (root / task.flagfile).is_file()
      assert task.name.startswith(scale.name) == scale.has_paper_models


@pytest.mark.parametrize("scale", scales.SCALES.values(), ids=lambda scale: scale.name)
def test_tasks_are_those_of_earlier_versions(scale):
  """A folder of an earlier version keeps its models. What measures them has changed since."""
  later = _LATER_AT_SMALL_SCALE
  if scale.has_paper_models:
    scale, later = scale.with_features("graph.pb"), _LATER
  tasks = all_tasks(scale)
  first_seeds = scale.with_seeds(tuple(range(len(scale.seeds))))
  trainings = [
    task
    for task in all_tasks(first_seeds)
    if isinstance(task, tasks_lib.TrainingTask) and not any(part in task.name for part in later)
  ]
  assert (digest_of_records(trainings), digest(tasks)) == DIGESTS[scale.name]


def digest_of_records(tasks):
  return hashed([task.name, task.record(OUTPUT)] for task in tasks)


def digest(tasks):
  return hashed(
    [task.name, task.record(OUTPUT), *tasks_lib.arguments(task, OUTPUT, ("--data_dir=data",))]
    for task in tasks
  )


def hashed(content):
  content = sorted(content)
  return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def test_the_tables_and_section_3_share_the_fid_by_all_steps():
  """At the paper's scales, such an evaluation takes days."""
  scale = scales.SCALES["cifar10"].with_features("graph.pb")
  tables, section = (
    {task.name for task in experiments.load(name).needs(scale) if "--fid" in task.flags}
    for name in ("table2", "section3")
  )
  assert len(tables) == len(scales.ROWS)
  # Only the FID of L_simple with the other variance is not in the table.
  assert len(section - tables) == 1 and len(section & tables) == 3
