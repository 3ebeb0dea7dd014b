"""What training says before it starts."""

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
from iddpm_tf.training import estimates as preflight
from iddpm_tf.training import state as state_lib
from iddpm_tf.utils import devices as strategy_lib
from iddpm_tf.utils import host


def config_of(
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


def source_of(num_images):
  return sources.Source(
    "digits", np.zeros((num_images, 8, 8, 1), np.uint8), np.zeros(num_images, np.int32), 10
  )


@pytest.fixture(name="strategy", scope="module")
def fixture_strategy():
  return strategy_lib.make_strategy()


@pytest.fixture(name="state", scope="module")
def fixture_state(strategy):
  with strategy.scope():
    return state_lib.TrainState(config_of())


def test_says_images_cost_memory_and_time_in_one_screen(state, strategy, capsys):
  preflight.report(state, source_of(1000), strategy)
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == (
    "1,000 images of 8x8x1 in 10 classes, each seen 40 times; 755,298 parameters, "
    "0.0325 GFLOP an image forward"
  )
  assert re.fullmatch(
    r"estimates: \S+ GiB of memory of \S+, \S+ \S+ a step, \S+ \S+ a sample grid, "
    r"\S+ \S+ in all",
    lines[1],
  )
  assert len(lines) == 2


def test_warns_in_the_report(state, strategy, capsys, monkeypatch):
  monkeypatch.setattr(preflight, "memory", lambda *_: (3 * 2**30, 2**30))
  preflight.report(state, source_of(4), strategy)
  out = capsys.readouterr().out
  assert "estimates: 3.0 GiB of memory of 1.0," in out
  assert (
    "warning: that is more memory than there is: raise --microbatches=1 or lower --batch_size=8, or take "
    "--precision=mixed_bfloat16"
  ) in out


@pytest.mark.parametrize(
  "config, text",
  [
    (config_of(batch_size=100), None),
    (
      config_of(ema=(0.9, 0.9999)),
      "--ema=0.9999 will be 61% initial weights after --train_steps=5000",
    ),
    (config_of(ema=(0.999,), train_steps=4000), None),
    (
      config_of(diffusion_steps=4000, timestep_sampler="loss_second_moment"),
      "--timestep_sampler=loss_second_moment begins after some 13667 steps, and --train_steps=5000",
    ),
    (config_of(batch_size=100, diffusion_steps=4000, timestep_sampler="loss_second_moment"), None),
  ],
  ids=["fits", "slow-average", "average", "resampling-late", "resampling"],
)
def test_warns_of_what_is_likely_a_mistake(config, text):
  assert preflight.warnings(config, 0, 0) == ([text] if text else [])


def test_warns_of_memory_only_where_it_is_known_to_lack():
  config = config_of(precision="mixed_bfloat16")
  assert preflight.warnings(config, 2, 2) == preflight.warnings(config, 2, 0) == []
  assert preflight.warnings(config, 2, 1) == [
    "that is more memory than there is: raise --microbatches=1 or lower --batch_size=8"
  ]
  assert preflight.warnings(config_of(precision="mixed_bfloat16", microbatches=8), 2, 1) == [
    "that is more memory than there is: lower --batch_size=8"
  ]


def test_resampling_begins_when_every_timestep_has_ten_losses():
  rng = np.random.default_rng(0)
  draws = rng.integers(0, 500, 40_000)
  tenth = max(np.flatnonzero(draws == t)[9] for t in range(500))
  config = config_of(diffusion_steps=500, timestep_sampler="loss_second_moment")
  assert preflight.resampling_begins(config) == pytest.approx(tenth / 8, rel=0.3)


@pytest.mark.parametrize("batch_size, microbatches", [(10_008, 1), (50_040, 5)])
def test_memory_grows_by_the_activations_of_a_microbatch(state, strategy, batch_size, microbatches):
  cost = cost_lib.network_cost(state.network, 8, 8)
  larger = state_lib.TrainState.__new__(
    state_lib.TrainState
  )  # The same weights with another batch.
  larger.network = state.network
  larger.config = config_of(batch_size=batch_size, microbatches=microbatches)
  (small, have), (large, _) = (preflight.memory(each, cost, strategy) for each in (state, larger))
  assert large - small == pytest.approx(10_000 * cost.activation_bytes, abs=2**25)
  assert 2**28 < small < 2**33 and have > small


def test_memory_is_that_of_the_container(monkeypatch):
  monkeypatch.setattr(host, "_cgroup_limit", lambda: 1)
  used, available = host.memory()
  assert used > 2**26 and available == 1


def test_memory_of_the_smallest_gpu(monkeypatch):
  said = subprocess.CompletedProcess([], 0, "81559\n143771\n")
  monkeypatch.setattr(subprocess, "run", lambda *_, **__: said)
  assert preflight._gpu_total_bytes() == 81559 * 2**20
  said = subprocess.CompletedProcess([], 0, "[N/A]\n")
  monkeypatch.setattr(subprocess, "run", lambda *_, **__: said)
  assert preflight._gpu_total_bytes() == 0


def test_times_follow_from_the_arithmetic(strategy):
  config = config_of(batch_size=8, ema=(0.9, 0.99))
  cost = cost_lib.Cost(parameters=1, flops=1000, activation_bytes=1)
  assert preflight.step_seconds(config, cost, 500.0, strategy) == 3 * 8 * 1000 / 500
  assert (
    preflight.grid_seconds(config, cost, 500.0) == 3 * 4 * 5 * 1000 / 500
  )  # Three sets of weights.
  whole = dataclasses.replace(config, sampling=config_lib.SamplingConfig(samplers=("ancestral",)))
  assert preflight.grid_seconds(whole, cost, 500.0) == 3 * 100 * 25 * 1000 / 500


def test_evaluations_are_of_images_and_of_terms_for_each_rate():
  config = config_of(batch_size=8, ema=(0.9, 0.99))
  cost = cost_lib.Cost(parameters=1, flops=1000, activation_bytes=1)
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
    assert preflight.evaluation_seconds(evaluated, cost, 500.0) == 2 * expected * 1000 / 500


@pytest.mark.parametrize("size", [(8, 8), (256, 128)])
def test_speed_is_measured_within_a_second_or_so(state, size):
  before = [variable.value.numpy() for variable in state.network.trainable_variables]
  rate = preflight.flops_per_second(state.network, size, 8, "/device:CPU:0")
  assert 1e6 < rate < 1e14
  for variable, value in zip(state.network.trainable_variables, before, strict=True):
    np.testing.assert_array_equal(variable.value, value)


def test_work_that_is_timed_is_limited(state, monkeypatch):
  """Large images are timed in part."""
  seen = []
  monkeypatch.setattr(preflight, "_seconds", lambda block, x: seen.append((block, x.shape)) or 0.5)
  rate = preflight.flops_per_second(state.network, (2048, 2048), 64, "/device:CPU:0")
  ((block, shape),) = seen
  flops = 3 * cost_lib.layer_flops(block, math.prod(shape[:3]))
  assert 1e9 < flops <= 6e9 and rate == pytest.approx(flops / 0.5, rel=1e-3)
  seen.clear()
  preflight.flops_per_second(state.network, (8, 8), 3, "/device:CPU:0")
  assert seen[0][1][0] == 3  # No more images than there will be.


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
def test_durations_are_short(seconds, text):
  assert preflight.duration(seconds) == text


def test_no_proc_no_memory(monkeypatch):
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

  cost = cost_lib.Cost(parameters=1, flops=1000, activation_bytes=1)
  assert (
    preflight.step_seconds(config_of(batch_size=8), cost, 500.0, Strategy) == 3 * 4 * 1000 / 500
  )
