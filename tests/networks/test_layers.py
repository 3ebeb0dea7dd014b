"""Tests of the layers and blocks, against plain statements of what they compute."""

import keras
from keras import ops
import numpy as np
import pytest

from iddpm_tf.networks import blocks
from iddpm_tf.networks import layers


def normal(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_timestep_embedding_is_cosines_then_sines():
  t = np.array([0.0, 1.0, 999.75], np.float32)
  angles = t[:, None] * 10000.0 ** (-np.arange(4) / 4)
  expected = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
  np.testing.assert_allclose(layers.timestep_embedding(t, 8), expected, atol=1e-4)


def test_timestep_embedding_of_odd_dimension_ends_with_a_zero():
  embedding = np.asarray(layers.timestep_embedding(np.array([5.0]), 7))
  assert embedding.shape == (1, 7)
  assert embedding[0, -1] == 0


@pytest.mark.parametrize("mean", [0.0, 300.0])
def test_group_norm_agrees_with_keras(mean):
  x = normal(2, 6, 4, 64) + mean
  ours, theirs = layers.GroupNorm(), keras.layers.GroupNormalization(32, epsilon=1e-5)
  for layer in (ours, theirs):
    layer.build(x.shape)
    layer.gamma.assign(normal(64, seed=1))
    layer.beta.assign(normal(64, seed=2))
  # A float32 number near 300 has a precision of 3e-5.
  np.testing.assert_allclose(ours(x), theirs(x), atol=1e-5 if mean == 0 else 5e-4)


def test_group_norm_of_a_large_mean_keeps_unit_variance():
  y = np.asarray(layers.GroupNorm()(1e-2 * normal(2, 16, 16, 32) + 30.0))
  # EPSILON is a tenth of the variance.
  np.testing.assert_allclose(y.std(axis=(1, 2)), 1.0, atol=0.06)


def test_group_norm_of_constants_is_zero():
  np.testing.assert_allclose(layers.GroupNorm()(np.full((1, 4, 4, 32), 7.0)), 0.0, atol=2e-3)


def test_group_norm_scales_and_shifts_after_its_own_weights():
  x, scale, shift = normal(3, 4, 4, 32), normal(3, 32, seed=1), normal(3, 32, seed=2)
  norm = layers.GroupNorm()
  norm.build(x.shape)
  norm.gamma.assign(normal(32, seed=3))
  norm.beta.assign(normal(32, seed=4))
  expected = np.asarray(norm(x)) * (scale + 1)[:, None, None] + shift[:, None, None]
  np.testing.assert_allclose(norm(x, scale, shift), expected, atol=1e-5)


def test_group_norm_treats_each_image_alone():
  x = normal(4, 4, 4, 32)
  norm = layers.GroupNorm()
  np.testing.assert_allclose(norm(x)[1:2], norm(x[1:2]), atol=1e-6)


def test_group_norm_requires_whole_groups():
  with pytest.raises(ValueError, match="expected a multiple of 32 channels, received 48"):
    layers.GroupNorm(name="norm")(normal(1, 4, 4, 48))


def test_group_norm_weights_are_float32_under_mixed_precision():
  norm = layers.GroupNorm(dtype="mixed_bfloat16")
  assert keras.backend.standardize_dtype(norm(normal(1, 4, 4, 32)).dtype) == "bfloat16"
  assert {weight.dtype for weight in norm.weights} == {"float32"}


def test_learned_downsampling_is_centred_on_even_pixels():
  """As in PyTorch with stride 2 and padding 1: stride 1, with every other pixel kept."""
  x = normal(1, 8, 6, 4)
  layer = layers.Downsample(True)
  y = layer(x)
  dense = ops.conv(x, layer.conv.kernel, strides=1, padding="same") + layer.conv.bias
  np.testing.assert_allclose(y, dense[:, ::2, ::2], atol=1e-5)


def test_plain_downsampling_inverts_plain_upsampling_and_neither_has_weights():
  x = normal(2, 4, 6, 3)
  down, up = layers.Downsample(False), layers.Upsample(False)
  assert up(x).shape == (2, 8, 12, 3)
  np.testing.assert_allclose(down(up(x)), x, atol=1e-6)
  assert not down.weights + up.weights


def test_upsampling_repeats_pixels():
  y = np.asarray(layers.Upsample(False)(np.array([[1.0, 2.0]]).reshape(1, 1, 2, 1)))
  np.testing.assert_array_equal(y[0, :, :, 0], [[1, 1, 2, 2], [1, 1, 2, 2]])


@pytest.mark.parametrize(
  "layer, fan_in",
  [
    (lambda: layers.dense(64, 256, dtype="float32", name="dense"), 64),
    (lambda: layers.conv(32, 256, 3, dtype="float32", name="conv"), 288),
  ],
)
def test_weights_start_uniform_as_in_pytorch(layer, fan_in):
  for weight in layer().weights:
    values = np.asarray(weight.value).ravel() * np.sqrt(fan_in)
    assert np.abs(values).max() <= 1
    np.testing.assert_allclose([values.mean(), values.var()], [0, 1 / 3], atol=0.12)


def test_kernel_and_bias_start_independently():
  kernel, bias = (
    np.asarray(w.value).ravel() for w in layers.dense(4, 8, dtype=None, name="d").weights
  )
  assert not np.array_equal(kernel[:8], bias)


def test_res_block_starts_as_its_skip_connection():
  x, emb = normal(2, 4, 4, 32), normal(2, 16)
  np.testing.assert_array_equal(blocks.ResBlock(32)(x, emb), x)
  block = blocks.ResBlock(64)
  np.testing.assert_allclose(block(x, emb), block.skip(x))


@pytest.mark.parametrize("direction, resized", [("down", layers.halve), ("up", layers.double)])
def test_res_block_resamples_its_input_and_its_normalized_activations(direction, resized):
  x, emb = normal(2, 4, 6, 32), normal(2, 16)
  block = blocks.ResBlock(32, resample=direction)
  y = block(x, emb)
  np.testing.assert_allclose(y, resized(x), atol=1e-6)
  kernel = np.zeros([3, 3, 32, 32])
  kernel[1, 1] = np.eye(32)  # The identity.
  block.out_conv.kernel.assign(kernel)
  scale, shift = np.split(np.asarray(block.emb_dense(emb)), 2, axis=-1)
  h = block.in_conv(resized(block.in_norm(x)))
  expected = resized(x) + block.out_norm(h, scale, shift)
  np.testing.assert_allclose(block(x, emb), expected, atol=1e-5)


def test_resampling_is_a_mean_and_a_repetition():
  x = np.arange(8, dtype=np.float32).reshape(1, 2, 4, 1)
  np.testing.assert_array_equal(layers.halve(x)[0, :, :, 0], [[2.5, 4.5]])
  doubled = np.asarray(layers.double(x))[0, :, :, 0]
  np.testing.assert_array_equal(doubled[:2], [[0, 0, 1, 1, 2, 2, 3, 3]] * 2)


@pytest.mark.parametrize("scale_shift_norm, width", [(True, 128), (False, 64)])
def test_res_block_is_conditioned(scale_shift_norm, width):
  # There are 64 channels, because a group of one channel would remove what is added to it.
  block = blocks.ResBlock(64, scale_shift_norm=scale_shift_norm)
  x, emb = normal(2, 4, 4, 32), normal(2, 16)
  block.build(x.shape, emb.shape)
  assert block.emb_dense.kernel.shape == (16, width)
  block.out_conv.kernel.assign(normal(3, 3, 64, 64))
  assert np.abs(np.asarray(block(x, emb) - block(x, -emb))).max() > 0.1


def test_attention_is_the_softmax_of_products_for_each_head():
  x = normal(2, 3, 2, 64)
  block = blocks.AttentionBlock(4)
  block.build(x.shape)
  block.out_dense.kernel.assign(np.eye(64))
  qkv = np.asarray(block.qkv(block.norm(x))).reshape(2, 6, 4, 48)
  expected = np.zeros((2, 6, 64), np.float32)
  for head in range(4):
    q, k, v = np.split(qkv[:, :, head], 3, axis=-1)
    weights = np.exp(q @ k.transpose(0, 2, 1) / 4.0)
    expected[:, :, 16 * head : 16 * head + 16] = weights / weights.sum(axis=-1, keepdims=True) @ v
  np.testing.assert_allclose(block(x), x + expected.reshape(x.shape), atol=1e-5)


def test_the_orders_of_attention_are_permutations_of_channels():
  x = normal(2, 3, 2, 64)
  ours, other = blocks.AttentionBlock(4, order="split"), blocks.AttentionBlock(4)
  for block in (ours, other):
    block.build(x.shape)
    block.out_dense.kernel.assign(np.eye(64))
    block.qkv.kernel.assign(normal(64, 192, seed=1))
  assert np.abs(ours(x) - other(x)).max() > 0.1
  # [queries, keys, values] of heads -> heads of [query, key, value].
  order = np.arange(192).reshape(3, 4, 16).transpose(1, 0, 2).ravel()
  other.qkv.kernel.assign(ours.qkv.kernel.numpy()[:, order])
  other.qkv.bias.assign(ours.qkv.bias.numpy()[order])
  np.testing.assert_allclose(ours(x), other(x), atol=1e-5)


def test_attention_starts_as_the_identity_and_ignores_positions():
  x = normal(1, 2, 3, 32)
  block = blocks.AttentionBlock(2)
  np.testing.assert_array_equal(block(x), x)
  block.out_dense.kernel.assign(normal(32, 32))
  np.testing.assert_allclose(block(x[:, ::-1, ::-1]), block(x)[:, ::-1, ::-1], atol=1e-5)


def test_attention_heads_divide_the_channels():
  with pytest.raises(ValueError, match="num_heads: expected a divisor of 32 channels, received 5"):
    blocks.AttentionBlock(5)(normal(1, 2, 2, 32))


@pytest.mark.parametrize(
  "layer",
  [
    layers.Downsample(False, name="a"),
    layers.Upsample(True, name="a"),
    layers.Dropout(0.3, name="a"),
    blocks.ResBlock(64, scale_shift_norm=False, dropout=0.1, name="a"),
    blocks.ResBlock(64, resample="up", name="a"),
    blocks.AttentionBlock(4, name="a"),
    blocks.AttentionBlock(4, order="split", name="a"),
  ],
)
def test_get_config_makes_the_same_layer_again(layer):
  assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()
