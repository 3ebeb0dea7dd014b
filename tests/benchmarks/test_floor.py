"""The convolutions of a network, as `benchmarks.speed` finds them."""

import math

import numpy as np
import pytest

from benchmarks.speed_comparison import contestants
from benchmarks.speed_comparison import floor
from benchmarks.speed_comparison import here
from iddpm_tf import networks
from iddpm_tf.networks import cost

TINY = contestants.NETWORKS["tiny"]


@pytest.fixture(name="network", scope="module")
def fixture_network():
  return networks.build_network(here.make_config(work("bfloat16")))


def work(precision):
  contestant = contestants.Contestant("floor", precision)
  return contestants.Work(contestant, TINY, 2, 50, 25, 1)


def test_every_convolution_is_found_once(network):
  found = floor.convolutions(network, 8, 8)
  kernels = [v for v in network.trainable_variables if len(v.shape) == 4]
  assert sorted(each.kernel_shape for each in found) == sorted(tuple(k.shape) for k in kernels)


def test_the_shapes_follow_the_levels(network):
  found = floor.convolutions(network, 8, 8)
  assert found[0] == ((8, 8, 3), (3, 3, 3, 32), 1, "SAME", "bfloat16")
  assert found[-1] == ((8, 8, 32), (3, 3, 32, 6), 1, "SAME", "float32")
  (down,) = [each for each in found if each.stride == 2]
  assert down.input_shape == (9, 9, 32) and down.output_size == (4, 4)
  assert {each.output_size for each in found} == {(8, 8), (4, 4)}


def test_the_cost_is_that_of_the_network_without_its_dense_layers(network):
  convolutions = sum(each.flops for each in floor.convolutions(network, 8, 8))
  dense = [v for v in network.trainable_variables if len(v.shape) == 2]
  once = 2 * sum(math.prod(v.shape) for v in dense if not is_of_attention(v))
  positions, blocks = 4 * 4, [v for v in dense if is_of_attention(v)]
  attention = 2 * sum(math.prod(v.shape) for v in blocks) * positions
  products = 4 * positions**2 * 64 * (len(blocks) // 2)
  whole = cost.network_cost(network, 8, 8).flops
  assert convolutions + once + attention + products == whole


def is_of_attention(variable):
  return any(name in variable.path for name in ("qkv", "out_dense"))


@pytest.mark.parametrize("training", [False, True])
def test_all_of_them_run(network, training):
  found = floor.convolutions(network, 8, 8)
  values = floor.run_all(found, 2, training=training)()
  # The first has no gradient of its input.
  assert values.shape == (len(found) * (3 if training else 1) - training,)
  assert np.all(np.isfinite(values)) and np.count_nonzero(values) == len(values)


def test_a_layer_that_the_walk_does_not_know_is_an_error(network, monkeypatch):
  monkeypatch.setattr(network.middle[0], "in_conv", None)
  with pytest.raises(AssertionError):
    floor.convolutions(network, 8, 8)
