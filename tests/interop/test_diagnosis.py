"""Tests of what shapes tell about a network, and of errors for state dicts that do not fit."""

import dataclasses
import math
import re

import numpy as np
import pytest

from iddpm_tf import config as config_lib
from iddpm_tf import networks
from iddpm_tf import settings
from iddpm_tf.interop import architecture as architecture_lib
from iddpm_tf.interop import diagnosis
from iddpm_tf.interop import openai
from tests.interop import test_openai

TINY = architecture_lib.Architecture(
  base_channels=32,
  num_classes=0,
  enlarges=False,
  channel_multipliers=(1, 2, 2),
  num_res_blocks=1,
  attention_levels=frozenset({1}),
  scale_shift_norm=True,
  conv_resample=True,
  learns_variance=True,
  image_channels=3,
)
CLASSES = dataclasses.replace(TINY, num_classes=7)
CLASSIFIER = dataclasses.replace(
  CLASSES, learns_variance=False, pool="attention", pool_positions=17
)
CONFIG = config_lib.Config.from_settings(
  base_channels=32,
  channel_multipliers=(1, 2, 2),
  num_res_blocks=1,
  attention_resolutions=(8,),
  image_size=16,
)


def state_dict(architecture):
  """Returns zeros for the parameters of an architecture. They take no memory."""
  return {
    name: np.broadcast_to(np.float32(0), shape) for name, shape in architecture.shapes().items()
  }


def with_settings(**options):
  """Returns `CONFIG` with other settings."""
  return CONFIG.with_settings(**options)


@pytest.mark.parametrize(
  "options",
  [
    *test_openai.VARIANTS,
    {"channel_multipliers": (1,), "attention_factors": ()},
    {"channel_multipliers": (1, 1, 3), "num_res_blocks": 2, "attention_factors": (1, 4)},
    {"channel_multipliers": (2, 1), "conv_resample": False, "num_classes": 3, "out_channels": 6},
    {"kind": networks.SuperResolutionUNet, "out_channels": 6, "conv_resample": False},
    {"resblock_updown": True, "num_res_blocks": 2, "attention_factors": (1,), "out_channels": 6},
    {"resblock_updown": True, "channel_multipliers": (1, 1, 1, 1), "attention_factors": ()},
    {"channel_multipliers": (3, 2), "scaled_first_conv": True},
    *test_openai.CLASSIFIERS,
    {"kind": networks.NoisyClassifier, "pool": "attention", "num_res_blocks": 3},
  ],
)
def test_shapes_agree_with_the_network_and_determine_it(options):
  network = test_openai.small(**options)
  shapes = {name: entry.torch_shape for name, entry in openai.state_dict_entries(network).items()}
  inferred = architecture_lib.infer(shapes)
  assert list(inferred.shapes().items()) == list(shapes.items())
  assert sorted(shapes, key=architecture_lib.authors_order) == list(shapes)
  is_classifier = isinstance(network, networks.NoisyClassifier)
  expected = {
    "base_channels": network.base_channels,
    "channel_multipliers": network.channel_multipliers,
    "num_res_blocks": network.num_res_blocks,
    "num_classes": network.num_classes,
    "scale_shift_norm": network.scale_shift_norm,
    "image_channels": 3,
    "enlarges": isinstance(network, networks.SuperResolutionUNet),
    "learns_variance": not is_classifier and network.out_channels == 6,
    "resblock_updown": network.resblock_updown,
    "scaled_first_conv": network.scaled_first_conv,
    "pool": network.pool if is_classifier else "none",
    "attention_levels": {int(math.log2(factor)) for factor in network.attention_factors},
  }
  if len(network.channel_multipliers) > 1 and not network.resblock_updown:
    expected["conv_resample"] = network.conv_resample
  assert {name: getattr(inferred, name) for name in expected} == expected


def test_blocks_that_resample_may_be_read_in_several_ways_of_the_same_shapes():
  """A classifier has no way up, which would show where its levels end."""
  one = dataclasses.replace(
    TINY,
    channel_multipliers=(1,),
    num_res_blocks=3,
    attention_levels=frozenset(),
    learns_variance=False,
    pool="adaptive",
    num_classes=5,
  )
  two = dataclasses.replace(one, channel_multipliers=(1, 1), num_res_blocks=1, resblock_updown=True)
  assert one.shapes() == two.shapes()
  assert architecture_lib.infer(one.shapes()).shapes() == two.shapes()
  options = {"pool": "adaptive", "ema": (), "attention_resolutions": ()}
  for architecture, updown in ((one, False), (two, True)):
    config = CONFIG.with_settings(
      **options,
      channel_multipliers=architecture.channel_multipliers,
      num_res_blocks=architecture.num_res_blocks,
      resblock_updown=updown,
    )
    assert diagnosis.fitted_config(state_dict(one), config, "X.pt").data.num_classes == 5


def test_multipliers_that_are_no_binary_fractions_are_found():
  for widths in ((32, 96, 1568), (96, 32, 64), (1568, 32, 96)):
    network = dataclasses.replace(
      TINY,
      base_channels=1568,
      channel_multipliers=tuple(architecture_lib._multiplier(width, 1568) for width in widths),
    )
    shapes = network.shapes()
    assert shapes["input_blocks.1.0.out_layers.3.bias"] == (widths[0],)
    assert architecture_lib.infer(shapes).shapes() == shapes


def test_the_authors_network_for_cifar10_without_a_learned_variance():
  """Networks with a learned variance are those of test_released_models."""
  network = dataclasses.replace(
    TINY,
    base_channels=128,
    channel_multipliers=(1, 2, 2, 2),
    num_res_blocks=3,
    attention_levels=frozenset({1, 2}),
    learns_variance=False,
  )
  assert sum(map(math.prod, network.shapes().values())) == 52_542_979
  assert architecture_lib.infer(network.shapes()) == network


@pytest.mark.parametrize(
  "architecture, options",
  [
    (TINY, {}),
    (CLASSES, {"class_conditional": True}),
    (dataclasses.replace(TINY, enlarges=True), {"low_res_size": 4}),
    (dataclasses.replace(TINY, image_channels=1), {}),
    (
      dataclasses.replace(TINY, learns_variance=False, image_channels=1),
      {"objective": "simple", "variance_type": "fixed_small"},
    ),
    (
      dataclasses.replace(TINY, attention_levels=frozenset({1, 2})),
      {"attention_resolutions": (4, 8)},
    ),
  ],
)
def test_a_state_dict_that_fits_completes_the_configuration(architecture, options):
  config = diagnosis.fitted_config(state_dict(architecture), with_settings(**options), "X.pt")
  assert config.data.image_shape == (16, 16, architecture.image_channels)
  assert config.data.num_classes == config.num_classes == architecture.num_classes
  assert config.network == with_settings(**options).network


def test_a_classifier_completes_the_configuration_of_one():
  config = with_settings(pool="attention", ema=())
  fitted = diagnosis.fitted_config(state_dict(CLASSIFIER), config, "X.pt")
  assert fitted.data.num_classes == 7 and fitted.num_classes == 0
  assert fitted.data.image_shape == (16, 16, 3)


@pytest.mark.parametrize(
  "architecture, options, message",
  [
    (
      CLASSIFIER,
      {},
      "X.pt: expected a diffusion model's UNet, because pool is none, received a classifier",
    ),
    (
      CLASSES,
      {"pool": "adaptive", "ema": ()},
      "X.pt: expected a classifier, because pool is adaptive, received a diffusion model's UNet",
    ),
  ],
)
def test_a_checkpoint_of_the_other_kind_is_refused(architecture, options, message):
  with pytest.raises(settings.InputError) as error:
    diagnosis.fitted_config(state_dict(architecture), with_settings(**options), "X.pt")
  assert str(error.value) == message


def assert_message(architecture, options, difference, *values):
  """Checks the whole message about a state dict that does not fit."""
  with pytest.raises(settings.InputError) as error:
    diagnosis.fitted_config(state_dict(architecture), with_settings(**options), "X.pt")
  noun = "setting differs" if len(values) == 1 else "settings differ"
  differing = "; ".join(
    f"{name} is {theirs} in the checkpoint and {ours} in the configuration"
    for name, theirs, ours in values
  )
  assert str(error.value) == f"X.pt: {difference}; {len(values)} {noun}: {differing}"


@pytest.mark.parametrize(
  "architecture, options, difference, values",
  [
    (
      TINY,
      {"base_channels": 64},
      "expected time_embed.0.weight of shape (256, 64), received shape (128, 32)",
      ("base_channels", "32", "64"),
    ),
    (
      CLASSES,
      {},
      "expected no parameter label_emb.weight, received one of shape (7, 128)",
      ("class_conditional", "True", "False"),
    ),
    (
      TINY,
      {"class_conditional": True},
      "expected label_emb.weight of shape (classes, 128), received no such parameter",
      ("class_conditional", "False", "True"),
    ),
    (
      TINY,
      {"low_res_size": 8},
      "expected input_blocks.0.0.weight of shape (32, 6, 3, 3), received shape (32, 3, 3, 3)",
      ("low_res_size", "0", "8"),
    ),
    (
      dataclasses.replace(TINY, enlarges=True),
      {},
      "expected input_blocks.0.0.weight of shape (32, 3, 3, 3), received shape (32, 6, 3, 3)",
      ("low_res_size", "above 0", "0"),
    ),
    (
      TINY,
      {"channel_multipliers": (1, 3, 2)},
      "expected input_blocks.3.0.in_layers.2.weight of shape (96, 32, 3, 3), received shape "
      "(64, 32, 3, 3)",
      ("channel_multipliers", "1,2,2", "1,3,2"),
    ),
    (
      TINY,
      {"channel_multipliers": (1, 2)},
      "expected no parameter input_blocks.4.0.op.weight, received one of shape (64, 64, 3, 3)",
      ("channel_multipliers", "1,2,2", "1,2"),
    ),
    (
      TINY,
      {"channel_multipliers": (1, 2, 2, 2)},
      "expected input_blocks.6.0.op.weight of shape (64, 64, 3, 3), received no such parameter",
      ("channel_multipliers", "1,2,2", "1,2,2,2"),
    ),
    (
      TINY,
      {"num_res_blocks": 2},
      "expected input_blocks.2.0.in_layers.0.weight of shape (32,), received no such parameter",
      ("num_res_blocks", "1", "2"),
    ),
    (
      TINY,
      {"attention_resolutions": (8, 4)},
      "expected input_blocks.5.1.norm.weight of shape (64,), received no such parameter",
      ("attention_resolutions", "8 (at image_size 16)", "8,4"),
    ),
    (
      TINY,
      {"attention_resolutions": ()},
      "expected no parameter input_blocks.3.1.norm.weight, received one of shape (64,)",
      ("attention_resolutions", "8 (at image_size 16)", "none"),
    ),
    (
      dataclasses.replace(TINY, attention_levels=frozenset()),
      {},
      "expected input_blocks.3.1.norm.weight of shape (64,), received no such parameter",
      ("attention_resolutions", "none (at image_size 16)", "8"),
    ),
    (
      TINY,
      {"image_size": 32},  # The same attention would be at a height of 16.
      "expected no parameter input_blocks.3.1.norm.weight, received one of shape (64,)",
      ("attention_resolutions", "16 (at image_size 32)", "8"),
    ),
    (
      TINY,
      {"scale_shift_norm": False},
      "expected input_blocks.1.0.emb_layers.1.weight of shape (32, 128), received shape (64, 128)",
      ("scale_shift_norm", "True", "False"),
    ),
    (
      TINY,
      {"conv_resample": False},
      "expected no parameter input_blocks.2.0.op.weight, received one of shape (32, 32, 3, 3)",
      ("conv_resample", "True", "False"),
    ),
    (
      dataclasses.replace(TINY, conv_resample=False),
      {},
      "expected input_blocks.2.0.op.weight of shape (32, 32, 3, 3), received no such parameter",
      ("conv_resample", "False", "True"),
    ),
    (
      TINY,
      {"objective": "vlb", "variance_type": "fixed_large"},
      "expected out.2.weight of shape (3, 32, 3, 3), received shape (6, 32, 3, 3)",
      ("variance_type", "learned or learned_range", "fixed_large"),
    ),
    (
      dataclasses.replace(TINY, learns_variance=False),
      {"objective": "vlb"},
      "expected out.2.weight of shape (6, 32, 3, 3), received shape (3, 32, 3, 3)",
      ("variance_type", "fixed_small or fixed_large", "learned_range"),
    ),
    (
      TINY,
      {"resblock_updown": True},
      "expected input_blocks.2.0.in_layers.0.weight of shape (32,), received no such parameter",
      ("resblock_updown", "False", "True"),
    ),
    (
      dataclasses.replace(TINY, resblock_updown=True),
      {},
      "expected no parameter input_blocks.2.0.in_layers.0.weight, received one of shape (32,)",
      ("resblock_updown", "True", "False"),
    ),
    (
      dataclasses.replace(TINY, channel_multipliers=(2, 2, 2), scaled_first_conv=True),
      {"channel_multipliers": (2, 2, 2)},
      "expected input_blocks.0.0.weight of shape (32, 3, 3, 3), received shape (64, 3, 3, 3)",
      ("scaled_first_conv", "True", "False"),
    ),
    (
      CLASSIFIER,
      {"pool": "spatial", "ema": ()},
      "expected out.0.weight of shape (2048, 352), received shape (64,)",
      ("pool", "attention", "spatial"),
    ),
    (
      CLASSIFIER,
      {"pool": "attention", "ema": (), "image_size": 32, "attention_resolutions": (16,)},
      "expected out.2.positional_embedding of shape (64, 65), received shape (64, 17)",
      ("image_size", "16", "32"),
    ),
  ],
)
def test_one_setting_that_differs(architecture, options, difference, values):
  assert_message(architecture, options, difference, values)


@pytest.mark.parametrize(
  "architecture, options, difference, values",
  [
    (
      TINY,
      {"base_channels": 64, "num_res_blocks": 2},
      "expected time_embed.0.weight of shape (256, 64), received shape (128, 32)",
      [("base_channels", "32", "64"), ("num_res_blocks", "1", "2")],
    ),
    # The attention of the third level is as configured, which two levels do not show.
    (
      dataclasses.replace(CLASSES, attention_levels=frozenset({1, 2})),
      {"channel_multipliers": (1, 2), "attention_resolutions": (8, 4)},
      "expected no parameter label_emb.weight, received one of shape (7, 128)",
      [("class_conditional", "True", "False"), ("channel_multipliers", "1,2,2", "1,2")],
    ),
    (
      CLASSES,
      {"num_res_blocks": 2, "scale_shift_norm": False},
      "expected no parameter label_emb.weight, received one of shape (7, 128)",
      [
        ("class_conditional", "True", "False"),
        ("num_res_blocks", "1", "2"),
        ("scale_shift_norm", "True", "False"),
      ],
    ),
    (
      TINY,
      {"num_res_blocks": 2, "channel_multipliers": (1, 3, 3), "scale_shift_norm": False},
      "expected input_blocks.1.0.emb_layers.1.weight of shape (32, 128), received shape (64, 128)",
      [
        ("channel_multipliers", "1,2,2", "1,3,3"),
        ("num_res_blocks", "1", "2"),
        ("scale_shift_norm", "True", "False"),
      ],
    ),
    # The objective must go with the variance.
    (
      TINY,
      {"objective": "simple", "variance_type": "fixed_large"},
      "expected out.2.weight of shape (3, 32, 3, 3), received shape (6, 32, 3, 3)",
      [
        ("variance_type", "learned or learned_range", "fixed_large"),
        ("objective", "hybrid or vlb", "simple"),
      ],
    ),
    (
      dataclasses.replace(TINY, learns_variance=False, enlarges=True, image_channels=1),
      {},
      "expected input_blocks.0.0.weight of shape (32, 1, 3, 3), received shape (32, 2, 3, 3)",
      [
        ("low_res_size", "above 0", "0"),
        ("variance_type", "fixed_small or fixed_large", "learned_range"),
        ("objective", "simple or vlb", "hybrid"),
      ],
    ),
    # One level shows nothing about resampling.
    (
      dataclasses.replace(
        TINY, channel_multipliers=(1,), attention_levels=frozenset({0}), conv_resample=False
      ),
      {"channel_multipliers": (2,), "attention_resolutions": (8,)},
      "expected input_blocks.1.0.in_layers.2.weight of shape (64, 32, 3, 3), received shape "
      "(32, 32, 3, 3)",
      [
        ("channel_multipliers", "1", "2"),
        ("attention_resolutions", "16 (at image_size 16)", "8"),
      ],
    ),
  ],
)
def test_all_settings_that_differ_are_named_at_once(architecture, options, difference, values):
  assert_message(architecture, options, difference, *values)


def test_the_settings_that_a_message_names_are_all_that_differ():
  """A user who changes what one message names has a configuration that fits."""
  config = with_settings(
    base_channels=64, channel_multipliers=(1, 2), num_res_blocks=2, low_res_size=4
  )
  with pytest.raises(settings.InputError) as error:
    diagnosis.fitted_config(state_dict(CLASSES), config, "X.pt")
  named = set(re.findall(r"(\w+) is \S+ in the checkpoint", str(error.value)))
  assert named == {
    "base_channels",
    "class_conditional",
    "low_res_size",
    "channel_multipliers",
    "num_res_blocks",
  }
  right = {name: getattr(CONFIG.network, name) for name in named} | {"class_conditional": True}
  diagnosis.fitted_config(state_dict(CLASSES), config.with_settings(**right), "X.pt")


@pytest.mark.parametrize("architecture", (TINY, dataclasses.replace(CLASSES, conv_resample=False)))
def test_every_parameter_that_is_missing_or_changed_is_named(architecture):
  config = with_settings(
    class_conditional=bool(architecture.num_classes), conv_resample=architecture.conv_resample
  )
  for name, shape in architecture.shapes().items():
    for changed in (None, (*shape, 1), (shape[0] + 1, *shape[1:])):
      content = state_dict(architecture)
      content.pop(name)
      if changed:
        content[name] = np.zeros(changed, np.float32)
      if name == "label_emb.weight" and changed == (shape[0] + 1, *shape[1:]):
        continue  # The number of classes is taken from the file.
      with pytest.raises(settings.InputError) as error:
        diagnosis.fitted_config(content, config, "X.pt")
      message = error.value.message
      if name == "out.2.bias" and changed == (7,):
        assert "as many channels as its input" in message
      elif name == "label_emb.weight" and not changed:
        assert message.startswith("expected label_emb.weight of shape (classes, 128), received no")
      else:
        assert (
          message.startswith(f"expected {name} of shape {shape}, received")
          or f"which has a parameter {name}, received" in message
        )


@pytest.mark.parametrize(
  "shapes",
  [
    {},
    {"a": (1,)},
    {"input_blocks.0.0.weight": ()},
    {"input_blocks.0.0.weight": (0, 3, 3, 3)},
    {"input_blocks.0.0.weight": (32, 3, 3, 3)},
    {"input_blocks.x.0.weight": (32, 3, 3, 3)},
    {"input_blocks.0.0.weight": (32, 3, 3, 3), "out.2.bias": (3,)},
    {f"module.{name}": shape for name, shape in TINY.shapes().items()},
    {**TINY.shapes(), "out.2.weight": (5, 32, 3, 3), "out.2.bias": (5,)},
  ],
)
def test_other_state_dicts_are_refused(shapes):
  content = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
  with pytest.raises(ValueError, match=r"^X\.pt: expected a UNet of the authors"):
    diagnosis.fitted_config(content, CONFIG, "X.pt")


@pytest.mark.parametrize("value", (np.nan, np.inf))
def test_weights_that_are_not_finite_are_refused(value):
  content = {name: np.array(array) for name, array in state_dict(TINY).items()}
  for name in ("out.0.bias", "input_blocks.1.0.in_layers.0.bias"):
    content[name][3] = value
  message = "finite weights, received infinities or NaN in input_blocks.1.0.in_layers.0.bias"
  with pytest.raises(ValueError, match=message):
    diagnosis.fitted_config(content, CONFIG, "X.pt")


def test_ambiguous_channels_are_those_of_grey_or_rgb_images():
  """Six channels in and out are two RGB images, and a mean and a variance. Four are one image."""
  for channels, expected in ((6, (3, True, True)), (2, (1, True, True)), (4, (4, False, False))):
    plain = dataclasses.replace(TINY, image_channels=channels, learns_variance=False)
    inferred = architecture_lib.infer(plain.shapes())
    assert (inferred.image_channels, inferred.enlarges, inferred.learns_variance) == expected
    assert inferred.shapes() == plain.shapes()
