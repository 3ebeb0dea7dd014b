"""What shapes tell of a network, and which flag explains a state dict that does not fit."""

import dataclasses
import math

import numpy as np
import pytest

from iddpm_tf import config as config_lib
from iddpm_tf import interop
from iddpm_tf import networks
from iddpm_tf.interop import architecture as architecture_lib
from iddpm_tf.interop import diagnosis
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
CONFIG = config_lib.Config(
  network=config_lib.NetworkConfig(
    base_channels=32, channel_multipliers=(1, 2, 2), num_res_blocks=1, attention_resolutions=(8,)
  ),
  data=config_lib.DataConfig(image_size=16),
)


def state_dict(architecture):
  return {name: np.zeros(shape, np.float32) for name, shape in architecture.shapes().items()}


def with_flags(**options):
  """`CONFIG` with other flags."""
  diffusion = {
    name: options.pop(name) for name in ("variance_type", "objective") if name in options
  }
  return dataclasses.replace(
    CONFIG,
    network=dataclasses.replace(CONFIG.network, **options),
    diffusion=dataclasses.replace(CONFIG.diffusion, **diffusion),
    data=dataclasses.replace(CONFIG.data, image_size=options.pop("image_size", 16)),
  )


@pytest.mark.parametrize(
  "options",
  [
    *test_openai.VARIANTS,
    {"channel_multipliers": (1,), "attention_factors": ()},
    {"channel_multipliers": (1, 1, 3), "num_res_blocks": 2, "attention_factors": (1, 4)},
    {"channel_multipliers": (2, 1), "conv_resample": False, "num_classes": 3, "out_channels": 6},
    {"kind": networks.SuperResolutionUNet, "out_channels": 6, "conv_resample": False},
  ],
)
def test_shapes_are_those_of_the_network_and_tell_of_it(options):
  network = test_openai.small(**options)
  shapes = {name: entry.torch_shape for name, entry in interop.state_dict_entries(network).items()}
  found = architecture_lib.infer(shapes)
  assert list(found.shapes().items()) == list(shapes.items())
  assert sorted(shapes, key=architecture_lib.authors_order) == list(shapes)
  expected = {
    "base_channels": 32,
    "channel_multipliers": network.channel_multipliers,
    "num_res_blocks": network.num_res_blocks,
    "num_classes": network.num_classes,
    "scale_shift_norm": network.scale_shift_norm,
    "image_channels": 3,
    "enlarges": isinstance(network, networks.SuperResolutionUNet),
    "learns_variance": network.out_channels == 6,
    "attention_levels": {int(math.log2(factor)) for factor in network.attention_factors},
  }
  if len(network.channel_multipliers) > 1:  # Otherwise there is no resampling to tell of.
    expected["conv_resample"] = network.conv_resample
  assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
  "count, changes",
  [
    (52546438, {"num_res_blocks": 3, "channel_multipliers": (1, 2, 2, 2)}),
    (
      52542979,
      {"num_res_blocks": 3, "channel_multipliers": (1, 2, 2, 2), "learns_variance": False},
    ),
    (
      121063942,
      {"num_res_blocks": 3, "channel_multipliers": (1, 2, 3, 4), "attention_levels": {2, 3}},
    ),
    (
      273049350,
      {
        "base_channels": 192,
        "num_res_blocks": 3,
        "channel_multipliers": (1, 2, 3, 4),
        "attention_levels": {2, 3},
        "num_classes": 1000,
      },
    ),
    (
      279792390,
      {
        "base_channels": 192,
        "num_res_blocks": 2,
        "channel_multipliers": (1, 1, 2, 2, 4, 4),
        "attention_levels": {4, 5},
        "num_classes": 1000,
        "enlarges": True,
      },
    ),
    (
      113676678,
      {
        "num_res_blocks": 2,
        "channel_multipliers": (1, 1, 2, 2, 4, 4),
        "attention_levels": {4},
        "scale_shift_norm": False,
      },
    ),
  ],
)
def test_the_released_models(count, changes):
  paper = dataclasses.replace(TINY, **{"base_channels": 128, "attention_levels": {1, 2}, **changes})
  assert sum(map(math.prod, paper.shapes().values())) == count
  assert architecture_lib.infer(paper.shapes()) == paper


@pytest.mark.parametrize(
  "architecture, flags",
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
def test_what_fits_fills_in_what_the_data_would_say(architecture, flags):
  config = diagnosis.fitted_config(state_dict(architecture), with_flags(**flags), "X.pt")
  assert config.data.image_shape == (16, 16, architecture.image_channels)
  assert config.data.num_classes == config.num_classes == architecture.num_classes
  assert config.network == with_flags(**flags).network


@pytest.mark.parametrize(
  "architecture, flags, message",
  [
    (
      TINY,
      {"base_channels": 64},
      "time_embed.0.weight: expected shape (256, 64), received (128, 32) from X.pt; "
      "--base_channels: the checkpoint's is 32, received 64",
    ),
    (
      CLASSES,
      {},
      "label_emb.weight: the network has no such parameter, received shape (7, 128) from X.pt; "
      "--class_conditional: the checkpoint's is True, received False",
    ),
    (
      TINY,
      {"class_conditional": True},
      "label_emb.weight: expected shape (classes, 128), missing from X.pt; "
      "--class_conditional: the checkpoint's is False, received True",
    ),
    (
      TINY,
      {"low_res_size": 8},
      "input_blocks.0.0.weight: expected shape (32, 6, 3, 3), received (32, 3, 3, 3) from X.pt; "
      "--low_res_size: the checkpoint's is 0 (it draws from noise alone), received 8",
    ),
    (
      dataclasses.replace(TINY, enlarges=True),
      {},
      "input_blocks.0.0.weight: expected shape (32, 3, 3, 3), received (32, 6, 3, 3) from X.pt; "
      "--low_res_size: the checkpoint's is more than 0 (it enlarges images), received 0",
    ),
    (
      TINY,
      {"channel_multipliers": (1, 3, 2)},
      "input_blocks.3.0.in_layers.2.weight: expected shape (96, 32, 3, 3), received (64, 32, 3, 3) from X.pt; "
      "--channel_multipliers: the checkpoint's is 1,2,2, received 1,3,2",
    ),
    (
      TINY,
      {"channel_multipliers": (1, 2)},
      "input_blocks.4.0.op.weight: the network has no such parameter, received shape (64, 64, 3, 3) from "
      "X.pt; --channel_multipliers: the checkpoint's is 1,2,2, received 1,2",
    ),
    (
      TINY,
      {"channel_multipliers": (1, 2, 2, 2)},
      "input_blocks.6.0.op.weight: expected shape (64, 64, 3, 3), missing from X.pt; "
      "--channel_multipliers: the checkpoint's is 1,2,2, received 1,2,2,2",
    ),
    (
      TINY,
      {"num_res_blocks": 2},
      "input_blocks.2.0.in_layers.0.weight: expected shape (32,), missing from X.pt; "
      "--num_res_blocks: the checkpoint's is 1, received 2",
    ),
    (
      TINY,
      {"attention_resolutions": (8, 4)},
      "input_blocks.5.1.norm.weight: expected shape (64,), missing from X.pt; "
      "--attention_resolutions: the checkpoint's is 8 with --image_size=16, received 8,4",
    ),
    (
      TINY,
      {"attention_resolutions": ()},
      "input_blocks.3.1.norm.weight: the network has no such parameter, received shape (64,) from X.pt; "
      "--attention_resolutions: the checkpoint's is 8 with --image_size=16, received none",
    ),
    (
      dataclasses.replace(TINY, attention_levels=frozenset()),
      {},
      "input_blocks.3.1.norm.weight: expected shape (64,), missing from X.pt; "
      "--attention_resolutions: the checkpoint's is none with --image_size=16, received 8",
    ),
    (
      TINY,
      {"scale_shift_norm": False},
      "input_blocks.1.0.emb_layers.1.weight: expected shape (32, 128), received (64, 128) from X.pt; "
      "--scale_shift_norm: the checkpoint's is True, received False",
    ),
    (
      TINY,
      {"conv_resample": False},
      "input_blocks.2.0.op.weight: the network has no such parameter, received shape (32, 32, 3, 3) from "
      "X.pt; --conv_resample: the checkpoint's is True, received False",
    ),
    (
      dataclasses.replace(TINY, conv_resample=False),
      {},
      "input_blocks.2.0.op.weight: expected shape (32, 32, 3, 3), missing from X.pt; "
      "--conv_resample: the checkpoint's is False, received True",
    ),
    (
      TINY,
      {"objective": "simple", "variance_type": "fixed_large"},
      "out.2.weight: expected shape (3, 32, 3, 3), received (6, 32, 3, 3) from X.pt; "
      "--variance_type: the checkpoint's is learned or learned_range, received 'fixed_large'",
    ),
    (
      dataclasses.replace(TINY, learns_variance=False),
      {},
      "out.2.weight: expected shape (6, 32, 3, 3), received (3, 32, 3, 3) from X.pt; "
      "--variance_type: the checkpoint's is fixed_small or fixed_large, received 'learned_range'",
    ),
    # Of several, the one that the first parameter tells of.
    (
      CLASSES,
      {"num_res_blocks": 2, "scale_shift_norm": False},
      "label_emb.weight: the network has no such parameter, received shape (7, 128) from X.pt; "
      "--class_conditional: the checkpoint's is True, received False",
    ),
    (
      TINY,
      {"num_res_blocks": 2, "channel_multipliers": (1, 3, 3), "scale_shift_norm": False},
      "input_blocks.1.0.emb_layers.1.weight: expected shape (32, 128), received (64, 128) from X.pt; "
      "--scale_shift_norm: the checkpoint's is True, received False",
    ),
  ],
)
def test_the_flag_that_explains_a_difference(architecture, flags, message):
  with pytest.raises(ValueError) as error:
    diagnosis.fitted_config(state_dict(architecture), with_flags(**flags), "X.pt")
  assert str(error.value) == message


def test_another_image_size_shows_in_the_attention():
  config = dataclasses.replace(CONFIG, data=config_lib.DataConfig(image_size=32))
  with pytest.raises(ValueError, match="the checkpoint's is 16 with --image_size=32, received 8$"):
    diagnosis.fitted_config(state_dict(TINY), config, "X.pt")


@pytest.mark.parametrize("architecture", (TINY, dataclasses.replace(CLASSES, conv_resample=False)))
def test_any_parameter_that_is_missing_or_changed_is_named(architecture):
  config = with_flags(
    class_conditional=bool(architecture.num_classes), conv_resample=architecture.conv_resample
  )
  for name, shape in architecture.shapes().items():
    for changed in (None, (*shape, 1), (shape[0] + 1, *shape[1:])):
      content = state_dict(architecture)
      content.pop(name)
      if changed:
        content[name] = np.zeros(changed, np.float32)
      if name == "label_emb.weight" and changed == (shape[0] + 1, *shape[1:]):
        continue  # Another number of classes, which is the file's to say.
      with pytest.raises(ValueError) as error:
        diagnosis.fitted_config(content, config, "X.pt")
      message = str(error.value)
      if name == "out.2.bias" and changed == (7,):
        assert "channels in as out" in message
      elif name == "label_emb.weight" and not changed:
        assert message.startswith("label_emb.weight: expected shape (classes, 128), missing")
      else:
        assert (
          message.startswith(f"{name}: expected shape {shape}, ")
          or f"with {name}, received" in message
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
def test_what_is_no_network_of_the_authors(shapes):
  content = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
  with pytest.raises(ValueError, match="^X.pt: expected a UNet of the authors"):
    diagnosis.fitted_config(content, CONFIG, "X.pt")


@pytest.mark.parametrize("value", (np.nan, np.inf))
def test_weights_that_are_no_numbers(value):
  content = state_dict(TINY)
  for name in ("out.0.bias", "input_blocks.1.0.in_layers.0.bias"):
    content[name][3] = value
  message = "finite weights, received infinities or NaN in input_blocks.1.0.in_layers.0.bias"
  with pytest.raises(ValueError, match=message):
    diagnosis.fitted_config(content, CONFIG, "X.pt")


def test_channels_that_may_be_two_things():
  """Six in and out: pairs of RGB images, and their variance. Four: no pairs, since images are grey or RGB."""
  for channels, expected in ((6, (3, True, True)), (2, (1, True, True)), (4, (4, False, False))):
    plain = dataclasses.replace(TINY, image_channels=channels, learns_variance=False)
    found = architecture_lib.infer(plain.shapes())
    assert (found.image_channels, found.enlarges, found.learns_variance) == expected
    assert found.shapes() == plain.shapes()
