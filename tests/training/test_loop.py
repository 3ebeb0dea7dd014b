"""The training loop: the shares of a batch, and the first line."""

import types

import pytest
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.training import loop
from iddpm_tf.training import run
from iddpm_tf.training import tasks
from tests import small_model

TWO_REPLICAS = types.SimpleNamespace(num_replicas_in_sync=2)


@pytest.mark.parametrize("batch_size, microbatches, size", [(32, 1, 16), (32, 4, 4), (32, 16, 1)])
def test_a_batch_is_divided_evenly(batch_size, microbatches, size):
  options = config_lib.TrainingConfig(batch_size=batch_size, microbatches=microbatches)
  assert loop.images_per_part(TWO_REPLICAS, options) == size


@pytest.mark.parametrize(
  "batch_size, microbatches, message",
  [
    (9, 1, "batch_size: expected a multiple of 2, the number of replicas, received 9"),
    (9, 3, "batch_size: expected a multiple of 2, the number of replicas, received 9"),
    (
      12,
      4,
      "microbatches: expected a divisor of 6, the images that each of 2 replicas has of "
      "batch_size=12, received 4",
    ),
  ],
)
def test_a_batch_that_cannot_be_divided_evenly_is_refused(batch_size, microbatches, message):
  options = config_lib.TrainingConfig(batch_size=batch_size, microbatches=microbatches)
  with pytest.raises(settings.InputError) as caught:
    loop.images_per_part(TWO_REPLICAS, options)
  assert str(caught.value) == message


@pytest.mark.parametrize(
  "step, count",
  [(0, 4), (4, 4), (8, 2), (10, 4), (14, 1), (15, 4), (19, 1), (20, 4), (24, 4), (28, 1)],
)
def test_a_call_ends_where_something_is_due(step, count):
  """Scalars are due every 10 steps, checkpoints every 15, grids every 19, and the end at 29."""
  config = config_lib.Config.from_settings(
    steps_per_call=4, log_every=10, save_every=15, sample_every=19, train_steps=29
  )
  assert run.steps_until_boundary(step, config) == count


@pytest.mark.parametrize("step, count", [(0, 2), (2, 3), (5, 4)])
def test_a_call_ends_where_the_profiler_begins_and_ends(step, count):
  config = config_lib.Config.from_settings(
    steps_per_call=4, log_every=100, save_every=100, profile_steps=(3, 5)
  )
  assert run.steps_until_boundary(step, config) == count


@pytest.mark.parametrize(
  "options, device, optimizes",
  [
    ({}, "CPU:0", False),
    ({"remat": True}, "CPU:0", True),
    ({}, "GPU:0", True),
    ({}, "TPU:0", True),
    ({"graph_optimizer": "grappler"}, "CPU:0", True),
    ({"graph_optimizer": "none"}, "GPU:0", False),
    ({"graph_optimizer": "none", "remat": True}, "CPU:0", False),
    ({"graph_optimizer": "xla"}, "GPU:0", False),
  ],
)
def test_grappler_optimizes_the_graph_of_steps_where_that_helps(
  monkeypatch, options, device, optimizes
):
  config = small_model.make_config(**options)
  state = types.SimpleNamespace(config=config, task=tasks.DiffusionTask)
  strategy = tf.distribute.MirroredStrategy(["CPU:0"])
  monkeypatch.setattr(
    type(strategy.extended), "worker_devices", (f"/replica:0/task:0/device:{device}",)
  )
  disabled = []

  def option():
    return tf.config.optimizer.get_experimental_options()["disable_meta_optimizer"]

  def make_function(**_):
    return lambda function: lambda *arguments: disabled.append(option())

  before = option()
  tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
  monkeypatch.setattr(tf, "function", make_function)
  try:
    loop.make_steps(state, strategy)(None, 1)
    assert disabled == [not optimizes] and not option()
  finally:
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": before})
