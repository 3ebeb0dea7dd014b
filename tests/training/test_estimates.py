"""The estimates and warnings before the first step of a training."""

import dataclasses
import io
import math
import re
import subprocess

import numpy as np
import pytest

from iddpm_tf import config as config_lib
from iddpm_tf.data import sources
from iddpm_tf.networks import cost as cost_lib
from iddpm_tf.training import estimates
from iddpm_tf.training import state as state_lib
from iddpm_tf.utils import devices
from iddpm_tf.utils import host


def make_config(
  batch_size=8, precision="float32", diffusion_steps=25, timestep_sampler="uniform", **training
):
  return config_lib.Config(
    network=config_lib.NetworkConfig(channel_multipliers=(1, 2), precision=precision),
    diffusion=config_lib.DiffusionConfig(
      diffusion_steps=diffusion_steps, timestep_sampler=timestep_sampler
    ),
    data=config_lib.DataConfig(image_shape=(8, 8, 1), num_classes=10),
    training=config_lib.TrainingConfig(batch_size=batch_size, **{"train_steps": 5000, **training}),
    sampling=config_lib.SamplingConfig(samplers=("ancestral:5",), num_samples=4),
  )


def make_source(num_images):
  images, labels = np.zeros((num_images, 8, 8, 1), np.uint8), np.zeros(num_images, np.int32)
  return sources.Source("digits", images, labels, 10)


@pytest.fixture(name="strategy", scope="module")
def fixture_strategy():
  return devices.make_strategy()


@pytest.fixture(name="state", scope="module")
def fixture_state(strategy):
  with strategy.scope():
    return state_lib.TrainState(make_config())


def test_the_report_has_images_cost_memory_and_time(state, strategy, recorder):
  estimates.report(state, make_source(1000), strategy, recorder)
  first, second = recorder.lines
  assert first == (
    "1,000 images of 8x8x1 in 10 classes, each seen 40 times; 755,298 parameters, "
    "0.0325 GFLOP per image forward"
  )
  assert re.fullmatch(
    r"estimates: \S+ GiB of memory of \S+, \S+ \S+ per step, \S+ \S+ per sample grid, "
    r"\S+ \S+ in all",
    second,
  )


def test_the_report_has_warnings(state, strategy, monkeypatch, recorder):
  monkeypatch.setattr(estimates, "memory", lambda *_: (3 * 2**30, 2**30))
  estimates.report(state, make_source(4), strategy, recorder)
  assert "estimates: 3.0 GiB of memory of 1.0," in recorder.lines[1]
  assert recorder.lines[2] == (
    "warning: this is more memory than there is: raise microbatches=1 or lower batch_size=8, set "
    "remat, or take precision=mixed_bfloat16"
  )


@pytest.mark.parametrize(
  "first_step, every, count",
  [(0, 0, 1), (90, 0, 1), (100, 0, 0), (0, 10, 10), (0, 30, 4), (60, 30, 2), (95, 30, 1)],
)
def test_what_is_due_at_the_end_is_counted_once(first_step, every, count):
  assert estimates.num_due(first_step, 100, every) == count


@pytest.mark.parametrize(
  "config, text",
  [
    (make_config(batch_size=100), None),
    (
      make_config(ema=(0.9, 0.9999)),
      "the average of rate ema=0.9999 will be 61% initial weights after train_steps=5000",
    ),
    (make_config(ema=(0.999,), train_steps=4000), None),
    (
      make_config(diffusion_steps=4000, timestep_sampler="loss_second_moment"),
      "timestep_sampler=loss_second_moment begins after about 13667 steps, and train_steps=5000",
    ),
    (
      make_config(batch_size=100, diffusion_steps=4000, timestep_sampler="loss_second_moment"),
      None,
    ),
  ],
  ids=["fits", "slow-average", "average", "resampling-late", "resampling"],
)
def test_likely_mistakes_have_warnings(config, text):
  assert estimates.warnings(config, 0, 0) == ([text] if text else [])


def test_there_is_a_warning_if_memory_is_known_to_be_too_small():
  config = make_config(precision="mixed_bfloat16")
  assert estimates.warnings(config, 2, 2) == estimates.warnings(config, 2, 0) == []
  assert estimates.warnings(config, 2, 1) == [
    "this is more memory than there is: raise microbatches=1 or lower batch_size=8, set remat"
  ]
  assert estimates.warnings(
    make_config(precision="mixed_bfloat16", microbatches=8, remat=True), 2, 1
  ) == ["this is more memory than there is: lower batch_size=8"]


def test_resampling_begins_when_every_timestep_has_ten_losses():
  rng = np.random.default_rng(0)
  draws = rng.integers(0, 500, 40_000)
  tenth = max(np.flatnonzero(draws == t)[9] for t in range(500))
  config = make_config(diffusion_steps=500, timestep_sampler="loss_second_moment")
  assert estimates.resampling_begins(config) == pytest.approx(tenth / 8, rel=0.3)


@pytest.mark.parametrize("batch_size, microbatches", [(10_008, 1), (50_040, 5)])
def test_memory_grows_by_the_activations_of_a_microbatch(state, strategy, batch_size, microbatches):
  cost = cost_lib.network_cost(state.network, 8, 8)
  # The same weights with another batch size.
  larger = state_lib.TrainState.__new__(state_lib.TrainState)
  larger.network = state.network
  larger.config = make_config(batch_size=batch_size, microbatches=microbatches)
  (small, available), (large, _) = (
    estimates.memory(each, cost, strategy) for each in (state, larger)
  )
  assert large - small == pytest.approx(10_000 * cost.activation_bytes, abs=2**25)
  assert 2**28 < small < 2**33 and available > small


def test_the_memory_of_a_container_is_respected(monkeypatch):
  monkeypatch.setattr(host, "_cgroup_limit", lambda: 1)
  used, available = host.memory()
  assert used > 2**26 and available == 1


def test_memory_of_the_smallest_gpu(monkeypatch):
  for output, expected in (("81559\n143771\n", 81559 * 2**20), ("[N/A]\n", 0)):
    result = subprocess.CompletedProcess([], 0, output)
    monkeypatch.setattr(subprocess, "run", lambda *_, result=result, **__: result)
    assert estimates._gpu_total_bytes() == expected


def test_times_follow_from_the_arithmetic(strategy):
  config = make_config(batch_size=8, ema=(0.9, 0.99))
  cost = cost_lib.Cost(parameters=1, flops=1000, activation_bytes=1, remat_bytes=1)
  assert estimates.step_seconds(config, cost, 500.0, strategy) == 3 * 8 * 1000 / 500
  # Three sets of weights.
  assert estimates.grid_seconds(config, cost, 500.0) == 3 * 4 * 5 * 1000 / 500
  whole = dataclasses.replace(config, sampling=config_lib.SamplingConfig(samplers=("ancestral",)))
  assert estimates.grid_seconds(whole, cost, 500.0) == 3 * 100 * 25 * 1000 / 500


def test_the_time_of_evaluations_counts_images_and_terms_for_each_rate():
  config = make_config(batch_size=8, ema=(0.9, 0.99))
  cost = cost_lib.Cost(parameters=1, flops=1000, activation_bytes=1, remat_bytes=1)
  for scores, expected in (
    (("fid",), 70 * 5),
    (("nll",), 6 * 9),
    (("nll", "nll_train"), 2 * 6 * 9),
    (("nll", "fid", "sfid"), 70 * 5 + 6 * 9),
  ):
    evaluation = config_lib.EvaluationConfig(
      eval_every=5, eval_scores=scores, eval_samples=70, eval_examples=6, eval_nll_steps=5
    )
    evaluated = dataclasses.replace(config, evaluation=evaluation)
    # Appendix E keeps 9 of 25 timesteps: 0 to 4, and 6, 12, 18, 24.
    assert estimates.evaluation_seconds(evaluated, cost, 500.0, 9) == 2 * expected * 1000 / 500
  all_images = config_lib.EvaluationConfig(
    eval_every=5, eval_scores=("nll",), eval_examples=0, eval_nll_steps=5
  )
  evaluated = dataclasses.replace(config, evaluation=all_images)
  assert estimates.evaluation_seconds(evaluated, cost, 500.0, 40) == 2 * 40 * 9 * 1000 / 500


@pytest.mark.parametrize("size", [(8, 8), (256, 128)])
def test_measuring_the_speed_does_not_change_the_weights(state, size):
  before = [variable.value.numpy() for variable in state.network.trainable_variables]
  rate = estimates.flops_per_second(state.network, size, 8, "/device:CPU:0")
  assert 1e6 < rate < 1e14
  for variable, value in zip(state.network.trainable_variables, before, strict=True):
    np.testing.assert_array_equal(variable.value, value)


def test_the_timed_work_is_limited(state, monkeypatch):
  """Only a part of a large image is timed."""
  seen = []
  monkeypatch.setattr(estimates, "_seconds", lambda block, x: seen.append((block, x.shape)) or 0.5)
  rate = estimates.flops_per_second(state.network, (2048, 2048), 64, "/device:CPU:0")
  ((block, shape),) = seen
  flops = 3 * cost_lib.layer_flops(block, math.prod(shape[:3]))
  assert 1e9 < flops <= 6e9 and rate == pytest.approx(flops / 0.5, rel=1e-3)
  seen.clear()
  estimates.flops_per_second(state.network, (8, 8), 3, "/device:CPU:0")
  assert seen[0][1][0] == 3  # There are no more images.


@pytest.mark.parametrize(
  "seconds, text",
  [
    (0.271, "0.27 s"),
    (75, "75 s"),
    (100, "100 s"),
    (121, "2 min"),
    (5400, "90 min"),
    (7200, "2 h"),
    (86400 * 3.44, "3.4 days"),
    (86400 * 4321, "4,321 days"),
  ],
)
def test_durations_in_words(seconds, text):
  assert estimates.duration(seconds) == text


def test_memory_is_unknown_without_proc(monkeypatch):
  def refuse(path, **_):
    raise FileNotFoundError(path)

  monkeypatch.setattr(host, "open", refuse, raising=False)
  assert host.memory() == (0, 0)
  monkeypatch.setattr(host, "open", lambda path, **_: io.StringIO("123\n"), raising=False)
  assert host._cgroup_limit() == 123
  monkeypatch.setattr(host, "open", lambda path, **_: io.StringIO("max\n"), raising=False)
  assert host._cgroup_limit() == math.inf


def test_replicas_of_gpus_share_the_batch():
  class Extended:
    worker_devices = tuple(f"/job:localhost/replica:0/task:0/device:GPU:{i}" for i in range(2))

  class Strategy:
    extended, num_replicas_in_sync = Extended, 2

  cost = cost_lib.Cost(parameters=1, flops=1000, activation_bytes=1, remat_bytes=1)
  seconds = estimates.step_seconds(make_config(batch_size=8), cost, 500.0, Strategy)
  assert seconds == 3 * 4 * 1000 / 500
