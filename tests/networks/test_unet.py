"""Tests of the UNet: shapes, initialization, wrong input, precision and graphs."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import networks
from iddpm_tf import settings
from iddpm_tf.networks import cost

SMALL = {
  "base_channels": 32,
  "channel_multipliers": (1, 2),
  "num_res_blocks": 1,
  "attention_factors": (2,),
  "num_heads": 2,
  "out_channels": 6,
}
T = np.array([0.0, 999.75], np.float32)


def images(*shape):
  return np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)


def make_small(image_shape=(8, 8, 3), randomised=True, **options):
  """Returns a small network. Its zeros are replaced, so that every part affects the output."""
  network = networks.UNet(**{**SMALL, **options})
  network.build((None, *image_shape))
  if randomised:
    rng = np.random.default_rng(1)
    for variable in network.trainable_variables:
      if not np.any(variable.value):
        variable.assign(0.05 * rng.standard_normal(variable.shape))
  return network


small = functools.cache(make_small)  # Tests share networks that they do not change.


@pytest.mark.parametrize("image_shape", [(8, 8, 3), (4, 10, 3), (6, 2, 1), (8, 8, 5)])
def test_output_has_the_shape_of_the_image(image_shape):
  y = small(image_shape)(images(*image_shape), T)
  assert y.shape == (2, *image_shape[:2], 6)
  assert np.ptp(np.asarray(y)) > 0


def test_the_output_is_zero_at_first():
  np.testing.assert_array_equal(small(randomised=False)(images(8, 8, 3), T), 0.0)


def test_the_seed_determines_the_initial_weights():
  first, second = [], []
  for weights in (first, second):
    keras.utils.set_random_seed(3)
    weights.extend(
      (v.path, np.asarray(v.value)) for v in make_small(randomised=False).trainable_variables
    )
  for (path, value), (other_path, other_value) in zip(first, second, strict=True):
    assert path == other_path
    np.testing.assert_array_equal(value, other_value, err_msg=path)


@pytest.mark.parametrize(
  "options",
  [
    {},
    {
      "num_classes": 3,
      "channel_multipliers": (1, 2, 2),
      "attention_factors": (1, 4),
      "dropout": 0.1,
    },
  ],
)
def test_paths_of_variables_are_unique(options):
  paths = [variable.path for variable in small(**options).variables]
  assert len(set(paths)) == len(paths)


@pytest.mark.parametrize(
  "options",
  [
    {"scale_shift_norm": False},
    {"conv_resample": False},
    {"attention_factors": ()},
    {"num_heads": 1},
    {"channel_multipliers": (2,), "attention_factors": (1,)},
    {"num_res_blocks": 2},
    {"resblock_updown": True, "num_head_channels": 32, "attention_order": "split"},
    {"base_channels": 64, "channel_multipliers": (0.5, 1), "scaled_first_conv": True},
  ],
)
def test_variants_run_and_depend_on_the_timestep(options):
  network, x = small(**options), images(8, 8, 3)
  assert np.abs(np.asarray(network(x, T) - network(x, T + 50))).max() > 1e-4


def test_resampling_without_convolutions_has_fewer_weights():
  plain, learned = small(conv_resample=False), small()
  assert learned.count_params() - plain.count_params() == (9 * 32 + 1) * 32 + (9 * 64 + 1) * 64


def test_additive_conditioning_is_half_as_wide():
  # Each residual block has one projection [128, channels] and its bias less. Their channels are 32
  # and 64 on the way down, 64 and 64 in the middle, and 64, 64, 32 and 32 on the way up.
  additive, scaled = small(scale_shift_norm=False), small()
  assert scaled.count_params() - additive.count_params() == 129 * (
    32 + 64 + 2 * 64 + 2 * 64 + 2 * 32
  )


def test_heads_on_the_way_up_have_their_own_number():
  network = small(num_heads=2, num_heads_upsample=4)
  assert network.input_blocks[3][1].num_heads == 2
  assert network.middle[1].num_heads == 2
  assert network.output_blocks[0][1].num_heads == 4
  assert small(num_heads=2).output_blocks[0][1].num_heads == 2


def test_heads_of_a_fixed_width_follow_the_channels():
  network = small(num_heads=1, num_heads_upsample=2, num_head_channels=16, attention_factors=(1, 2))
  assert network.input_blocks[1][1].num_heads == 2
  assert network.input_blocks[3][1].num_heads == network.middle[1].num_heads == 4
  assert network.output_blocks[0][1].num_heads == 4
  assert network.output_blocks[3][1].num_heads == 2
  with pytest.raises(settings.InputError, match="num_head_channels: expected a divisor of 64 cha"):
    make_small(num_head_channels=48)


@pytest.mark.parametrize("scaled, first", [(True, 32), (False, 64)])
def test_the_first_convolution_is_as_wide_as_the_first_level_or_the_unit(scaled, first):
  network = make_small(
    base_channels=64, channel_multipliers=(0.5, 1.5), scaled_first_conv=scaled, num_classes=2
  )
  assert network.input_blocks[0][0].filters == first
  assert [network.input_blocks[i][0].channels for i in (1, 3)] == [32, 96]
  assert network.output_blocks[-1][0].channels == 32 == network.out_conv.kernel.shape[2]
  # The embeddings follow from the unit.
  assert network.label_embedding.embeddings.shape == (2, 256)


def test_residual_blocks_resample_in_place_of_convolutions():
  network = small(resblock_updown=True)
  down, up = network.input_blocks[2], network.output_blocks[1]
  assert [layer.resample for layer in (*down, up[0], up[2])] == ["down", "none", "up"]
  assert [layer.channels for layer in (down[0], up[2])] == [32, 64]
  assert network(images(8, 8, 3), T).shape == (2, 8, 8, 6)
  # Two blocks of two convolutions, two norms and a projection, less two convolutions.
  more = network.count_params() - small().count_params()
  assert more == sum((9 * c + 1) * c + 4 * c + 129 * 2 * c for c in (32, 64))


def test_the_output_depends_on_the_label():
  network, x = small(num_classes=4), images(8, 8, 3)
  assert (
    np.abs(np.asarray(network(x, T, np.array([0, 1])) - network(x, T, np.array([0, 2])))[1]).max()
    > 0
  )


def test_a_hidden_label_adds_nothing_to_the_timestep():
  """It is the number of classes, and needs no weights."""
  network = small(num_classes=3, optional_labels=True)
  plain = small(num_classes=3)
  assert network.count_params() == plain.count_params()
  for mine, other in zip(network.variables, plain.variables, strict=True):
    mine.assign(other.value)
  x = images(8, 8, 3)
  np.testing.assert_array_equal(network(x, T, np.array([0, 2])), plain(x, T, np.array([0, 2])))
  hidden = np.asarray(network(x, T, np.array([3, 2])))
  np.testing.assert_array_equal(hidden[1], np.asarray(plain(x, T, np.array([0, 2])))[1])
  unconditional = make_small()
  weights = {weight.path: weight for weight in network.trainable_variables}
  for weight in unconditional.trainable_variables:
    weight.assign(weights[weight.path].value)
  np.testing.assert_allclose(hidden[0], unconditional(x, T)[0], atol=1e-5)


def test_sizes_that_cannot_be_halved_are_refused():
  with pytest.raises(ValueError, match="x: expected height and width divisible by 2, received 8x7"):
    small()(images(8, 7, 3), T)
  with pytest.raises(ValueError, match="divisible by 4, received 6x8"):
    small((6, 8, 3), channel_multipliers=(1, 1, 1))


def test_errors_inside_a_layer_are_input_errors():
  """Keras would turn them into a RuntimeError of several lines."""
  with pytest.raises(settings.InputError) as error:
    small()(images(8, 7, 3), T)
  assert str(error.value) == "x: expected height and width divisible by 2, received 8x7"


def test_missing_and_surplus_labels_are_refused():
  with pytest.raises(ValueError, match=r"label: expected a class from 0 to 3 .*, received none"):
    small(num_classes=4)(images(8, 8, 3), T)
  with pytest.raises(ValueError, match=r"label: expected none for .*, received labels"):
    small()(images(8, 8, 3), T, np.array([0, 1]))


@pytest.mark.parametrize("kind", [networks.UNet, networks.SuperResolutionUNet])
def test_get_config_makes_the_same_network_again(kind):
  network = kind(**SMALL, num_classes=4, dropout=0.1, dtype="mixed_bfloat16", name="mine")
  assert kind.from_config(network.get_config()).get_config() == network.get_config()


def test_mixed_precision_is_close_to_float32_and_keeps_timesteps():
  network, mixed = small(), make_small(dtype="mixed_bfloat16")
  for variable, other in zip(network.trainable_variables, mixed.trainable_variables, strict=True):
    other.assign(variable)
  x, t = images(8, 8, 3), np.array([0.0, 1001.0], np.float32)  # bfloat16 has no 1001.
  y = np.asarray(network(x, t))
  assert mixed(x, t).dtype == tf.float32
  assert {variable.dtype for variable in mixed.trainable_variables} == {"float32"}
  error = np.asarray(mixed(x, t)) - y
  assert np.sqrt(np.mean(error**2, axis=(1, 2, 3))).max() < 0.03 * y.std()


def test_a_graph_for_any_batch_and_size_agrees_with_eager_execution():
  network = small(num_classes=4)
  signature = [
    tf.TensorSpec([None, None, None, 3]),
    tf.TensorSpec([None]),
    tf.TensorSpec([None], tf.int32),
  ]
  graph = tf.function(network.__call__, input_signature=signature, autograph=False)
  for x in (images(8, 8, 3), images(4, 6, 3)):
    np.testing.assert_allclose(graph(x, T, [0, 1]), network(x, T, np.array([0, 1])), atol=1e-5)


def test_the_network_builds_under_a_strategy():
  with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
    network = make_small()
  assert len(network.trainable_variables) == 128


def test_super_resolution_requires_the_small_image():
  with pytest.raises(settings.InputError, match="low_res: expected the images to enlarge"):
    networks.SuperResolutionUNet(**SMALL)(images(8, 8, 3), T)


def test_super_resolution_depends_on_the_small_image():
  network = networks.SuperResolutionUNet(**SMALL)
  x, low_res = images(8, 12, 3), images(2, 3, 3)
  network(x, T, low_res=low_res)
  network.out_conv.kernel.assign(np.ones(network.out_conv.kernel.shape))
  assert network.input_blocks[0][0].kernel.shape == (3, 3, 6, 32)
  assert (
    np.abs(np.asarray(network(x, T, low_res=low_res) - network(x, T, low_res=-low_res))).max() > 0.1
  )


def test_super_resolution_enlarges_with_half_pixel_centres():
  network = networks.SuperResolutionUNet(**SMALL)
  unconditioned = small((4, 4, 2))
  low_res = np.array([0.0, 1.0], np.float32).reshape(1, 1, 2, 1)
  network.build((None, 4, 4, 1), low_res_shape=(None, 1, 2, 1))
  for variable, other in zip(
    network.trainable_variables, unconditioned.trainable_variables, strict=True
  ):
    variable.assign(other)
  x = images(4, 4, 1)[:1]
  enlarged = np.broadcast_to(np.reshape([0.0, 0.25, 0.75, 1.0], (1, 1, 4, 1)), x.shape)
  expected = unconditioned(np.concatenate([x, enlarged], axis=-1).astype(np.float32), T[:1])
  np.testing.assert_allclose(network(x, T[:1], low_res=low_res), expected, atol=1e-6)


@pytest.mark.parametrize(
  "size, multipliers, parameters",
  [(32, (1, 2, 2, 2), 52_546_438), (64, (1, 2, 3, 4), 121_063_942)],
  ids=["cifar10", "imagenet64"],
)
def test_networks_of_the_paper_have_the_authors_parameters(size, multipliers, parameters):
  config = config_lib.Config(
    network=config_lib.NetworkConfig(
      base_channels=128,
      channel_multipliers=multipliers,
      num_res_blocks=3,
      attention_resolutions=(16, 8),
    ),
    data=config_lib.DataConfig(image_shape=(size, size, 3)),
  )
  assert cost.config_cost(config).parameters == parameters


def test_build_network_uses_every_setting():
  config = config_lib.Config(
    network=config_lib.NetworkConfig(
      base_channels=32,
      channel_multipliers=(1, 1),
      num_res_blocks=1,
      attention_resolutions=(4,),
      num_heads=2,
      num_heads_upsample=4,
      num_head_channels=16,
      attention_order="split",
      scale_shift_norm=False,
      conv_resample=False,
      resblock_updown=True,
      scaled_first_conv=True,
      dropout=0.2,
      class_conditional=True,
      label_dropout=0.1,
      precision="mixed_bfloat16",
    ),
    data=config_lib.DataConfig(image_shape=(8, 4, 1), num_classes=3),
  )
  assert networks.build_network(config).get_config() == {
    "name": "unet",
    "dtype": "mixed_bfloat16",
    "base_channels": 32,
    "channel_multipliers": (1, 1),
    "num_res_blocks": 1,
    "attention_factors": (2,),
    "num_heads": 2,
    "num_heads_upsample": 4,
    "num_head_channels": 16,
    "attention_order": "split",
    "scale_shift_norm": False,
    "conv_resample": False,
    "resblock_updown": True,
    "scaled_first_conv": True,
    "dropout": 0.2,
    "num_classes": 3,
    "optional_labels": True,
    "out_channels": 2,
  }
