"""Tests of the cost of networks, against what TensorFlow counts in their graphs."""

import math
import re

import keras
import pytest
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import networks
from iddpm_tf.networks import cost

SHAPE = (16, 8, 3)


def make_config(image_shape=SHAPE, num_classes=0, **options):
  options = {
    "base_channels": 32,
    "channel_multipliers": (1, 2),
    "num_res_blocks": 1,
    "attention_resolutions": (8,),
    "num_heads": 2,
    **options,
  }
  return config_lib.Config(
    network=config_lib.NetworkConfig(**options),
    training=config_lib.TrainingConfig(ema=() if "pool" in options else (0.9,)),
    data=config_lib.DataConfig(image_shape=image_shape, num_classes=num_classes),
  )


def forward_graph(config):
  """Returns the graph of a forward pass of one image."""
  network = networks.build_network(config)
  inputs = [tf.TensorSpec([1, *config.data.image_shape]), tf.TensorSpec([1])]
  low_res = tf.zeros([1, *config.low_res_shape]) if config.low_res_shape else None

  @tf.function(autograph=False)
  def forward(x, t):
    if config.is_classifier:
      return network(x, t)
    label = tf.zeros([1], tf.int32) if config.num_classes else None
    return network(x, t, label, **({} if low_res is None else {"low_res": low_res}))

  return forward.get_concrete_function(*inputs).graph


def graph_flops(graph):
  """Returns the FLOP of the products in a graph.

  TensorFlow's profiler counts all of them except einsums, which are added here.
  """
  options = {**tf.compat.v1.profiler.ProfileOptionBuilder.float_operation(), "output": "none"}
  operations = tf.compat.v1.profiler.profile(graph, cmd="op", options=options)
  total, queue = 0, [operations]
  while queue:
    node = queue.pop()
    queue.extend(node.children)
    if node.name in ("Conv2D", "MatMul", "BatchMatMul", "BatchMatMulV2"):
      total += node.float_ops
  return total + sum(
    map(einsum_flops, (op for op in graph.get_operations() if op.type.endswith("Einsum")))
  )


def einsum_flops(op):
  """Returns the FLOP of one einsum."""
  sizes = {}
  terms = re.split(",|->", op.get_attr("equation").decode())
  for term, tensor in zip(terms, op.inputs):
    sizes.update(zip(term, tensor.shape))
  return 2 * math.prod(sizes.values())


@pytest.mark.parametrize(
  "options",
  [
    {},
    {"class_conditional": True, "num_classes": 5, "scale_shift_norm": False, "num_heads": 1},
    {"conv_resample": False, "num_res_blocks": 2},
    {"low_res_size": 8},
    {"attention_resolutions": ()},
    {"resblock_updown": True, "num_head_channels": 32, "attention_order": "split"},
    {"base_channels": 64, "channel_multipliers": (0.5, 1), "scaled_first_conv": True},
    {"pool": "adaptive", "num_classes": 5},
    {"pool": "attention", "num_classes": 5, "resblock_updown": True},
    {"pool": "spatial_v2", "num_classes": 5, "channel_multipliers": (1, 2, 3)},
  ],
  ids=lambda options: "-".join(options) or "plain",
)
def test_flops_equal_those_of_the_graph(options):
  config = make_config(**options)
  assert cost.config_cost(config).flops == graph_flops(forward_graph(config))


def test_a_network_and_its_configuration_have_the_same_cost():
  config = make_config(class_conditional=True, num_classes=5, low_res_size=4)
  network = networks.build_network(config)
  assert cost.network_cost(network, *SHAPE[:2]) == cost.config_cost(config)
  assert cost.config_cost(config).parameters == network.count_params()


def test_the_activations_of_a_classifier_are_those_of_a_way_down():
  """The head attends to 8x4 positions, and the way up of a UNet keeps more."""
  options = {"attention_resolutions": (), "num_heads": 1}
  unet = cost.config_cost(make_config(**options))
  mean, attention = (
    cost.config_cost(make_config(pool=pool, num_classes=5, **options))
    for pool in ("adaptive", "attention")
  )
  assert mean.activation_bytes < attention.activation_bytes < unet.activation_bytes
  # Of each position: four times as many channels more, and the attention weights.
  assert attention.activation_bytes - mean.activation_bytes == 32 * 4 * (4 * 64 + 32)
  assert mean.remat_bytes < mean.activation_bytes


def test_cifar10_takes_16_8_gflop():
  config = make_config(
    (32, 32, 3),
    base_channels=128,
    channel_multipliers=(1, 2, 2, 2),
    num_res_blocks=3,
    attention_resolutions=(16, 8),
    num_heads=4,
  )
  assert cost.config_cost(config).flops == pytest.approx(16.8e9, rel=0.005)


def test_no_memory_is_allocated_for_the_weights():
  before = resident_bytes()
  parameters = cost.config_cost(
    make_config(base_channels=320, channel_multipliers=(1, 2, 4))
  ).parameters
  with keras.StatelessScope():
    pass  # The end of a scope initializes the variables that wait for it.
  assert parameters > 1e8
  assert resident_bytes() - before < parameters


def resident_bytes():
  """Returns the memory that this process holds."""
  with open("/proc/self/status", encoding="utf8") as status:
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_errors_of_the_network_reach_the_caller():
  # Only the network checks that channels form 32 groups once the configuration is made.
  config = make_config()
  object.__setattr__(config.network, "base_channels", 48)
  with pytest.raises(ValueError, match="multiple of 32 channels"):
    cost.config_cost(config)


def test_activations_grow_with_the_image_and_shrink_with_the_precision():
  plain, large = (
    cost.config_cost(make_config(shape, attention_resolutions=())).activation_bytes
    for shape in (SHAPE, (32, 8, 3))
  )
  # Every network has attention in the middle, here of two heads at 8x4 positions, with float32
  # weights for each pair of positions.
  assert large - 2 * plain == 2 * 4 * ((2 * 32) ** 2 - 2 * 32**2)
  attention = cost.config_cost(make_config()).activation_bytes
  mixed = cost.config_cost(make_config(precision="mixed_bfloat16")).activation_bytes
  dropout = cost.config_cost(make_config(dropout=0.1)).activation_bytes
  assert attention / 2 < mixed < attention < dropout


def test_less_is_kept_where_the_activations_inside_of_blocks_are_computed_again():
  few, many = (cost.config_cost(make_config(num_res_blocks=count)) for count in (1, 6))
  assert few.remat_bytes < few.activation_bytes
  # Of a block more, only its output is kept, and on the way up the copy of its input.
  assert (many.remat_bytes - few.remat_bytes) < 0.6 * (many.activation_bytes - few.activation_bytes)
