"""Tests of the authors' state dicts: round trips, and errors. tests/parity compares numbers."""

import functools

import numpy as np
import pytest

from iddpm_tf import networks
from iddpm_tf import settings
from iddpm_tf.interop import openai


@functools.cache
def small(kind=networks.UNet, **options):
  """Returns a small network, which tests share."""
  ends = {"num_classes": 5} if kind is networks.NoisyClassifier else {"out_channels": 3}
  network = kind(
    **{
      "base_channels": 32,
      "channel_multipliers": (1, 2),
      "num_res_blocks": 1,
      "attention_factors": (2,),
      "num_heads": 2,
      **ends,
      **options,
    }
  )
  low_res = {"low_res_shape": (None, 4, 4, 3)} if kind is networks.SuperResolutionUNet else {}
  network.build((None, 8, 8, 3), **low_res)
  return network


def random_state_dict(network):
  """Returns normal numbers for the weights of a network."""
  rng = np.random.default_rng(0)
  return {
    name: rng.standard_normal(array.shape).astype(np.float32)
    for name, array in openai.to_state_dict(network).items()
  }


VARIANTS = [
  {},
  {"num_classes": 5},
  {"scale_shift_norm": False},
  {"conv_resample": False},
  {"attention_factors": ()},
  {"kind": networks.SuperResolutionUNet},
  {"resblock_updown": True},
  {"base_channels": 64, "channel_multipliers": (0.5, 1), "scaled_first_conv": True},
]
CLASSIFIERS = [
  {"kind": networks.NoisyClassifier, "pool": "adaptive"},
  {"kind": networks.NoisyClassifier, "pool": "attention", "resblock_updown": True},
  {"kind": networks.NoisyClassifier, "pool": "spatial", "channel_multipliers": (1, 2, 3)},
  {"kind": networks.NoisyClassifier, "pool": "spatial_v2"},
]


@pytest.mark.parametrize("options", VARIANTS + CLASSIFIERS)
def test_state_dict_survives_the_round_trip_byte_for_byte(options):
  network = small(**options)
  state_dict = random_state_dict(network)
  openai.load_state_dict(network, state_dict)
  back = openai.to_state_dict(network)
  assert list(back) == list(state_dict)
  assert all(back[name].tobytes() == array.tobytes() for name, array in state_dict.items())


@pytest.mark.parametrize("options", VARIANTS + CLASSIFIERS)
def test_every_weight_has_exactly_one_name(options):
  network = small(**options)
  paths = [entry.variable.path for entry in openai.state_dict_entries(network).values()]
  assert sorted(paths) == sorted(variable.path for variable in network.trainable_variables)


def test_shapes_are_those_of_pytorch():
  shapes = {
    name: entry.torch_shape
    for name, entry in openai.state_dict_entries(small(num_classes=5)).items()
  }
  assert shapes["time_embed.0.weight"] == (128, 32)
  assert shapes["label_emb.weight"] == (5, 128)
  assert shapes["input_blocks.0.0.weight"] == (32, 3, 3, 3)
  assert shapes["input_blocks.2.0.op.weight"] == (32, 32, 3, 3)
  assert shapes["input_blocks.3.0.skip_connection.weight"] == (64, 32, 1, 1)
  assert shapes["middle_block.1.qkv.weight"] == (192, 64, 1)
  assert shapes["output_blocks.1.2.conv.weight"] == (64, 64, 3, 3)
  assert shapes["out.2.bias"] == (3,)


@pytest.mark.parametrize(
  "options, expected",
  [
    (CLASSIFIERS[0], {"out.0.weight": (64,), "out.3.weight": (5, 64, 1, 1)}),
    (
      CLASSIFIERS[1],
      {
        "input_blocks.2.0.in_layers.2.weight": (32, 32, 3, 3),
        "out.2.positional_embedding": (64, 17),
        "out.2.qkv_proj.weight": (192, 64, 1),
        "out.2.c_proj.bias": (5,),
      },
    ),
    # The first convolution, the levels of 32, 64 and 96 channels, what is between, and the middle.
    (CLASSIFIERS[2], {"out.0.weight": (2048, 32 + 2 * 32 + 2 * 64 + 96 + 96)}),
    (CLASSIFIERS[3], {"out.1.bias": (2048,), "out.3.weight": (5, 2048)}),
  ],
)
def test_shapes_of_classifiers_are_those_of_pytorch(options, expected):
  shapes = {
    name: entry.torch_shape for name, entry in openai.state_dict_entries(small(**options)).items()
  }
  assert {name: shapes[name] for name in expected} == expected
  assert not any(name.startswith(("output_blocks", "label_emb")) for name in shapes)


@pytest.mark.parametrize(
  "change, message",
  [
    (
      lambda d: d.pop("out.0.bias"),
      "state_dict: expected out.0.bias of shape (32,), received no such parameter",
    ),
    (
      lambda d: d.update(extra=np.zeros((2, 3))),
      "state_dict: expected no parameter extra, received one of shape (2, 3)",
    ),
    (
      lambda d: d.update({"out.2.weight": np.zeros((6, 32, 3, 3))}),
      "state_dict: expected out.2.weight of shape (3, 32, 3, 3), received shape (6, 32, 3, 3)",
    ),
  ],
)
def test_a_state_dict_that_does_not_fit_changes_nothing(change, message):
  network = small()
  before = openai.to_state_dict(network)
  state_dict = random_state_dict(network)
  change(state_dict)
  with pytest.raises(settings.InputError) as error:
    openai.load_state_dict(network, state_dict)
  assert str(error.value) == message
  for name, array in openai.to_state_dict(network).items():
    np.testing.assert_array_equal(array, before[name])
