"""The table of memory in docs/train.md."""

import math
import pathlib

import pytest

from benchmarks import memory_table
from iddpm_tf.training import state as state_lib
from tests import small_model

DOCS = pathlib.Path(__file__).parents[2] / "docs"


def test_the_state_is_what_a_training_holds_and_two_gradients():
  state = state_lib.TrainState(small_model.make_config())
  flat = [state.weights, state.optimizer.momentum, state.optimizer.velocity]
  flat += state.averages.averages
  variables = [variable.value for variable in state.network.trainable_variables]
  variables += [values.variable for values in flat]
  held = sum(4 * math.prod(variable.shape) for variable in variables)
  weights = state.network.count_params()
  copies = memory_table.COPIES + len(state.config.training.ema)
  # The flat variables can be padded.
  assert held + 2 * 4 * weights == pytest.approx(4 * weights * copies, rel=0.01)


def test_the_fewest_microbatches_that_fit():
  memory = memory_table.Memory(1000, 64, int(5e9), {"bfloat16": int(4e9)})
  assert memory.total("bfloat16", 8) == memory.counted("bfloat16", 8) == 5e9 + 8 * 4e9
  assert memory.microbatches("bfloat16", 8, 80) == 1  # 37 GB of 72.
  assert memory.microbatches("bfloat16", 8, 40) == 2  # 21 GB of 36, not 37.
  assert memory.microbatches("bfloat16", 8, 24) == 2  # 21 GB of 21.6.
  assert memory.microbatches("bfloat16", 8, 8) is None  # One image takes 9 GB.


def test_activations_in_float32_take_what_was_measured():
  memory = memory_table.Memory(1000, 64, int(5e9), {"float32": int(4e9)})
  assert memory.total("float32", 8) == pytest.approx(5e9 + 1.4 * 8 * 4e9)
  assert memory.microbatches("float32", 8, 40) == 2  # 27.4 GB of 36, not 49.8.


@pytest.mark.parametrize("name", ["cifar10", "imagenet64_class_conditional"])
def test_the_documentation_has_the_table(name):
  lines = (DOCS / "train.md").read_text().splitlines()
  (line,) = [line for line in lines if line.startswith(f"| `{name}` |")]
  assert memory_table.row(name, gpus=8) == line
