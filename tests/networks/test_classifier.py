"""Tests of the noisy classifier and its heads. tests/parity compares with the authors' numbers."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import networks
from iddpm_tf import settings
from iddpm_tf.networks import pooling
from iddpm_tf.networks import stateless
from tests.networks.test_unet import T
from tests.networks.test_unet import images

SMALL = {
  "base_channels": 32,
  "channel_multipliers": (1, 2),
  "num_res_blocks": 1,
  "attention_factors": (2,),
  "num_heads": 2,
  "num_classes": 5,
  "resblock_updown": True,
}


@functools.cache
def small(pool, image_shape=(8, 4, 3), **options):
  """Returns a small network with random weights, which tests share."""
  network = networks.NoisyClassifier(**{**SMALL, "pool": pool, **options})
  network.build((None, *image_shape))
  rng = np.random.default_rng(1)
  for variable in network.trainable_variables:
    variable.assign_add(0.05 * rng.standard_normal(variable.shape))
  return network


@pytest.mark.parametrize("pool", config_lib.POOLS)
def test_logits_depend_on_the_image_and_the_timestep(pool):
  network, x = small(pool), images(8, 4, 3)
  logits = network(x, T).numpy()
  assert logits.shape == (2, 5) and logits.dtype == np.float32
  assert np.abs(network(x, T + 50) - logits).max() > 1e-3
  assert np.abs(network(x[::-1], T[::-1])[::-1] - logits).max() < 1e-5
  paths = [variable.path for variable in network.variables]
  assert len(set(paths)) == len(paths) and all(path.startswith("classifier/") for path in paths)


@pytest.mark.parametrize("pool", ("adaptive", "spatial", "spatial_v2"))
def test_heads_without_positions_accept_other_sizes(pool):
  assert small(pool)(images(4, 8, 3), T).shape == (2, 5)


def test_the_mean_begins_at_equal_classes():
  network = networks.NoisyClassifier(**SMALL, pool="adaptive")
  np.testing.assert_array_equal(network(images(8, 4, 3), T), 0)


def test_activations_may_be_computed_again():
  """The gradients are those of the plain backward pass, with the same masks of dropout."""
  network, x = small("attention", dropout=0.3), tf.constant(images(8, 4, 3))
  weights = [variable.value for variable in network.trainable_variables]

  def gradients(remat):
    with tf.GradientTape() as tape:
      tape.watch(weights)
      logits = stateless.call_network(
        network, x, T, weights=weights, dropout_seed=tf.constant([1, 2]), remat=remat
      )
      loss = tf.reduce_sum(logits**2)
    return tape.gradient(loss, weights)

  for ours, plain in zip(gradients(True), gradients(False), strict=True):
    np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-5)


def test_half_precision_is_close():
  network, mixed = small("attention"), small("attention", dtype="mixed_bfloat16")
  for variable, other in zip(network.trainable_variables, mixed.trainable_variables, strict=True):
    other.assign(variable)
  x = images(8, 4, 3)
  logits = network(x, T).numpy()
  assert mixed(x, T).dtype == tf.float32
  assert np.abs(mixed(x, T) - logits).max() < 0.1 * logits.std()


def test_an_unknown_head_is_refused():
  with pytest.raises(settings.InputError, match="pool: expected one of adaptive, attention, "):
    networks.NoisyClassifier(**SMALL, pool="max")


def test_get_config_makes_the_same_network_again():
  network = networks.NoisyClassifier(**SMALL, pool="spatial", dtype="mixed_bfloat16", name="mine")
  again = networks.NoisyClassifier.from_config(network.get_config())
  assert again.get_config() == network.get_config()


def test_build_classifier_uses_every_setting():
  config = config_lib.Config.from_settings(
    base_channels=64,
    channel_multipliers=(0.5, 1),
    num_res_blocks=2,
    attention_resolutions=(8, 4),
    num_heads=1,
    num_head_channels=32,
    attention_order="split",
    scale_shift_norm=False,
    conv_resample=False,
    resblock_updown=True,
    scaled_first_conv=True,
    dropout=0.2,
    pool="spatial_v2",
    precision="mixed_bfloat16",
    ema=(),
  ).with_data(image_shape=(8, 4, 1), num_classes=3)
  assert networks.build_network(config).get_config() == {
    "name": "classifier",
    "dtype": "mixed_bfloat16",
    "base_channels": 64,
    "channel_multipliers": (0.5, 1),
    "num_res_blocks": 2,
    "attention_factors": (1, 2),
    "num_heads": 1,
    "num_head_channels": 32,
    "attention_order": "split",
    "scale_shift_norm": False,
    "conv_resample": False,
    "resblock_updown": True,
    "scaled_first_conv": True,
    "dropout": 0.2,
    "num_classes": 3,
    "pool": "spatial_v2",
  }


def normalized(x, layer):
  """Returns silu of the group norm: [B, N, C] -> [B, N, C]."""
  groups = x.reshape(len(x), x.shape[1], 32, -1)
  mean, variance = (f(groups, axis=(1, 3), keepdims=True) for f in (np.mean, np.var))
  y = ((groups - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)
  y = y * layer.gamma.numpy() + layer.beta.numpy()
  return y / (1 + np.exp(-y))


def dense(x, layer):
  return x @ layer.kernel.numpy() + layer.bias.numpy()


def randomised(head, shape):
  """Builds a head with random weights."""
  head.build((None, *shape))
  rng = np.random.default_rng(0)
  for variable in head.trainable_variables:
    variable.assign_add(0.2 * rng.standard_normal(variable.shape))
  return head


def test_the_mean_head_is_its_formula():
  head, x = randomised(pooling.MeanHead(5, name="head"), (2, 3, 64)), images(2, 3, 64)
  expected = dense(normalized(x.reshape(2, 6, 64), head.norm).mean(axis=1), head.out_dense)
  np.testing.assert_allclose(head(x), expected, atol=1e-5)


def test_the_attention_head_is_its_formula():
  head = randomised(pooling.AttentionHead(5, 2, name="head"), (2, 3, 64))
  x = images(2, 3, 64)
  y = normalized(x.reshape(2, 6, 64), head.norm)
  y = np.concatenate([y.mean(axis=1, keepdims=True), y], axis=1) + head.positions.numpy()
  q, k, v = np.split(dense(y, head.qkv), 3, axis=-1)
  results = []
  for channels in (slice(0, 32), slice(32, 64)):
    scores = q[:, :1, channels] @ k[..., channels].transpose(0, 2, 1) / np.sqrt(32)
    attention = np.exp(scores - scores.max(axis=-1, keepdims=True))
    attention /= attention.sum(axis=-1, keepdims=True)
    results.append((attention @ v[..., channels])[:, 0])
  expected = dense(np.concatenate(results, axis=-1), head.out_dense)
  np.testing.assert_allclose(head(x), expected, atol=1e-4)


@pytest.mark.parametrize("is_normalized", (False, True))
def test_the_head_of_means_is_its_formula(is_normalized):
  head = randomised(pooling.MeansHead(5, normalized=is_normalized, name="head"), (96,))
  x = images(96)
  h = dense(x, head.in_dense)
  h = normalized(h[:, None], head.norm)[:, 0] if is_normalized else np.maximum(h, 0)
  np.testing.assert_allclose(head(x), dense(h, head.out_dense), rtol=1e-4, atol=1e-3)


def test_the_means_are_those_of_every_block():
  network, x = small("spatial"), images(8, 4, 3)
  heard = []
  head = network.head
  try:
    network.head = lambda means: heard.append(means.numpy())
    network(x, T)
  finally:
    network.head = head
  # The first convolution, the levels of 32 and 64 channels with a block between, and the middle.
  assert heard[0].shape == (2, 32 + 32 + 32 + 64 + 64)
  first = network.input_blocks[0][0](x).numpy().mean(axis=(1, 2))
  np.testing.assert_allclose(heard[0][:, :32], first, atol=1e-5)
