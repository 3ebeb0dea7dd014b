"""What a user does with `trainers.train`: runs, stops, resumes, looks."""

import collections
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.models import checkpoints
from iddpm_tf.training import state as state_lib
from iddpm_tf.training import tensorboard as summaries
from iddpm_tf.training import train_step
from tests.trainers import conftest

ROOT = pathlib.Path(__file__).parents[2]


def variables(folder):
  """Every saved number of the newest checkpoint."""
  reader = tf.train.load_checkpoint(str(folder / "checkpoints"))
  return {
    name: reader.get_tensor(name)
    for name in reader.get_variable_to_shape_map()
    if not name.startswith(("_CHECKPOINTABLE", "save_counter"))
  }


def assert_same_run(folder, other):
  ours, theirs = variables(folder), variables(other)
  assert ours.keys() == theirs.keys() and len(ours) > 100
  for name, value in ours.items():
    np.testing.assert_array_equal(value, theirs[name], name)


def start(folder, *flags):
  return subprocess.Popen(
    [sys.executable, "-m", "trainers.train", *conftest.SMALL, f"--model_dir={folder}", *flags],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def wait_for(path, process):
  deadline = time.monotonic() + 120
  while not path.exists():
    assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
    time.sleep(0.05)


def test_a_run_leaves_all_that_others_need(model_dir):
  assert config_lib.Config.from_json((model_dir / "config.json").read_text()).data.image_shape == (
    8,
    8,
    1,
  )
  assert (model_dir / "checkpoints/step-10.index").exists()
  assert (model_dir / "checkpoints/step-5.index").exists()
  for name in ("raw", "ema_0.9", "ema_0.5"):
    assert (model_dir / f"samples/step_10_{name}.png").exists()


def test_tensorboard_shows_losses_quartiles_norms_rates_samples_and_hparams(model_dir):
  events = [
    event
    for path in sorted((model_dir / "tensorboard").iterdir())
    for event in tf.compat.v1.train.summary_iterator(str(path))
  ]
  tags = {value.tag: event.step for event in events for value in event.summary.value}
  for tag in (
    "loss/loss",
    "loss/mse",
    "loss/vlb",
    "timesteps/drawn",
    "timesteps/probability_times_T",
    "norm/gradients",
    "norm/weights",
    "learning_rate",
    "images_per_second",
    "samples/raw",
    "samples/ema_0.9",
    "samples/ema_0.5",
  ):
    assert tags[tag] == 10, tag
  for name in ("loss", "mse", "vlb"):
    assert any(tag.startswith(f"{name}_by_quartile/q") for tag in tags)
  assert "_hparams_/session_start_info" in tags
  # One part of a batch does not tell.
  assert not any(tag.startswith("gradient_noise") for tag in tags)


def scalars(folder):
  """{tag: {step: value}} of TensorBoard's files."""
  found = collections.defaultdict(dict)
  for path in sorted((folder / "tensorboard").iterdir()):
    for event in tf.compat.v1.train.summary_iterator(str(path)):
      for value in event.summary.value:
        if value.tensor.dtype == tf.float32.as_datatype_enum and not value.tensor.tensor_shape.dim:
          found[value.tag][event.step] = float(tf.make_ndarray(value.tensor))
  return found


def test_microbatches_show_the_noise_scale_and_may_change(run, tmp_path):
  folder = tmp_path / "run"
  flags = (*conftest.SMALL, f"--model_dir={folder}", "--microbatches=4")
  assert run("train", *flags, "--train_steps=10").status == 0
  resumed = run("train", f"--model_dir={folder}", "--microbatches=2", "--train_steps=15")
  assert resumed.status == 0 and "at step 10 of 15" in resumed.out
  shown = scalars(folder)
  trace, squared_norm = (
    shown[f"gradient_noise/{name}"] for name in ("trace_of_covariance", "squared_norm")
  )
  assert trace.keys() == squared_norm.keys() == {5, 10, 15} and min(trace.values()) > 0
  scale = {step: trace[step] / value for step, value in squared_norm.items() if value > 0}
  assert scale and shown["gradient_noise_scale"] == pytest.approx(scale, rel=1e-4)


@pytest.mark.parametrize(
  "part_squared_norm, scale",
  [
    # Means: 10 of a part, 5 of the batch; |G|^2 = (8 * 5 - 2 * 10) / 6, tr = (10 - 5) / (1 / 2 - 1 / 8).
    ([7.0, 13.0], 4.0),
    ([15.0, 25.0], None),
    ([20.0, 24.0], None),
    ([8.0, np.inf], None),
  ],
)
def test_the_noise_scale_is_of_averages_and_is_shown_only_where_they_tell(
  tmp_path, part_squared_norm, scale
):
  config = config_lib.Config(training=config_lib.TrainingConfig(batch_size=8, microbatches=4))
  images, norms = np.ones([2, 8], np.float32), np.array(part_squared_norm, np.float32)
  records = train_step.StepRecord(
    images.astype(np.int32), images, images, images, images, np.array([1.0, 3.0], np.float32), norms
  )
  with summaries.Writer(tmp_path, config, 0, part_size=2) as writer:
    with writer._writer.as_default(step=2):
      writer._write_noise_scale(records)
  shown = scalars(tmp_path)
  assert shown["gradient_noise/trace_of_covariance"].keys() == {2}
  assert shown["gradient_noise_scale"] == (
    {} if scale is None else {2: pytest.approx(scale, rel=1e-5)}
  )


def test_a_killed_run_resumes_as_if_it_had_never_stopped(run, tmp_path):
  """The weights, the optimizer, the averages and the losses that the timestep sampler has seen."""
  whole, killed = tmp_path / "whole", tmp_path / "killed"
  flags = (
    *conftest.SMALL,
    "--timestep_sampler=loss_second_moment",
    "--objective=vlb",
    "--diffusion_steps=5",
    "--samplers=ancestral",
    "--dropout=0.1",
    "--random_flip",
  )
  process = start(killed, *flags, "--train_steps=1000000", "--save_every=30")
  wait_for(killed / "checkpoints/step-30.index", process)
  process.send_signal(signal.SIGKILL)
  process.wait()
  saved = max(
    int(path.stem.rsplit("-", 1)[1]) for path in (killed / "checkpoints").glob("step-*.index")
  )
  resumed = run("train", f"--model_dir={killed}", f"--train_steps={saved + 30}")
  assert resumed.status == 0 and f"at step {saved} of {saved + 30}" in resumed.out, resumed
  assert run("train", *flags, f"--model_dir={whole}", f"--train_steps={saved + 30}").status == 0
  assert_same_run(killed, whole)
  counts = next(
    value for name, value in variables(whole).items() if name.startswith("timestep_sampler/counts")
  )
  assert np.all(counts >= 10)  # The sampler has adapted.


def test_sigterm_while_samples_are_drawn_saves_all_the_same(tmp_path):
  process = start(
    tmp_path / "run", "--train_steps=1000000", "--sample_every=10", "--num_samples=400"
  )
  wait_for(tmp_path / "run/samples", process)
  process.send_signal(signal.SIGTERM)
  output, _ = process.communicate()
  assert process.returncode == 128 + signal.SIGTERM
  step = int(output.rsplit("saved at step ", 1)[1].split(";")[0])
  assert (tmp_path / f"run/checkpoints/step-{step}.index").exists()


def test_steps_a_call_do_not_matter_and_a_finished_run_goes_on(run, tmp_path, model_dir):
  flags = (*conftest.SMALL, f"--model_dir={tmp_path / 'run'}")
  assert run("train", *flags, "--train_steps=6", "--steps_per_call=4").status == 0
  finished = run("train", *flags)
  assert finished.status == 0 and "has finished its 6 steps" in finished.out
  # The folder is enough.
  resumed = run(
    "train", f"--model_dir={tmp_path / 'run'}", "--train_steps=10", "--steps_per_call=3"
  )
  assert resumed.status == 0 and "at step 6 of 10" in resumed.out
  assert_same_run(tmp_path / "run", model_dir)


@pytest.mark.parametrize(
  "flags, words",
  [
    (("--learning_rate=0.5",), ("--learning_rate", "0.001", "0.5")),
    (("--channel_multipliers=1,2",), ("--channel_multipliers", "1,2")),
    (("--seed=3",), ("--seed", "0", "3")),
    (("--random_flip",), ("--random_flip", "False", "True")),
  ],
)
def test_flags_that_contradict_the_folder_are_refused(run, model_dir, flags, words):
  result = run("train", f"--model_dir={model_dir}", *flags)
  assert result.status == 2 and result.err.count("\n") == 1
  assert all(word in result.err for word in (*words, str(model_dir)))


def test_a_checkpoint_of_the_first_version_is_restored(tmp_path):
  """It has no `moments_start`, which is then 0."""
  config = config_lib.Config(
    network=config_lib.NetworkConfig(channel_multipliers=(1,), attention_resolutions=()),
    data=config_lib.DataConfig(image_shape=(8, 8, 1)),
  )
  state = state_lib.TrainState(config)
  state.step.assign(3)
  checkpoints.Checkpoints(state.checkpoint(moments_start=False), tmp_path).save(3)
  later = state_lib.TrainState(config)
  assert checkpoints.Checkpoints(later, tmp_path).restore() == 3
  assert int(later.step.value) == 3 and int(later.optimizer.moments_start.value) == 0
