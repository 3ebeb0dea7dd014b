"""Tests of a network as a function of weights and a dropout seed."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import networks
from iddpm_tf.networks import encoder
from iddpm_tf.networks import stateless
from tests import small_model

T = np.array([0.0, 500.0], np.float32)
X = np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype(np.float32)


@pytest.fixture(name="network", scope="module")
def fixture_network():
  network = networks.UNet(
    base_channels=32,
    channel_multipliers=(1, 1),
    num_res_blocks=1,
    attention_factors=(),
    num_heads=1,
    out_channels=3,
    dropout=0.5,
  )
  network.build((None, 8, 8, 3))
  rng = np.random.default_rng(1)
  for variable in network.trainable_variables:
    if not np.any(variable.value):
      variable.assign(0.05 * rng.standard_normal(variable.shape))
  return network


def masks(network, seed):
  """Returns which of 4096 units each dropout layer keeps, bool, by the layer's path."""
  kept = {}
  with keras.StatelessScope(stateless.dropout_state(network, seed)):
    for dropout in network.dropouts:
      kept[dropout.path] = np.asarray(dropout(np.ones((1, 4096), np.float32), training=True)) > 0
  return kept


def test_the_seed_determines_the_output(network):
  outputs = [
    np.asarray(stateless.call_network(network, X, T, dropout_seed=seed))
    for seed in ([1, 2], [1, 2], [1, 3], [2, 2])
  ]
  np.testing.assert_array_equal(outputs[0], outputs[1])
  for other in outputs[2:]:
    assert np.abs(outputs[0] - other).max() > 1e-3


def test_no_seed_means_no_dropout(network):
  np.testing.assert_array_equal(stateless.call_network(network, X, T), network(X, T))


def test_layers_drop_units_independently(network):
  kept = [*masks(network, [7, 7]).values(), *masks(network, [7, 8]).values()]
  assert len(kept) == 2 * 8
  for i, mask in enumerate(kept):
    assert 0.45 < mask.mean() < 0.55
    for other in kept[:i]:
      assert 0.45 < (mask == other).mean() < 0.55


def test_no_variable_changes(network):
  before = [np.asarray(variable.value) for variable in network.variables]
  zeros = [tf.zeros(variable.shape) for variable in network.trainable_variables]
  stateless.call_network(network, X, T, weights=zeros, dropout_seed=[3, 4])
  for variable, value in zip(network.variables, before, strict=True):
    np.testing.assert_array_equal(variable.value, value)


def test_other_weights_are_used(network):
  weights = [2.0 * variable.value for variable in network.trainable_variables]
  other = networks.UNet.from_config(network.get_config())
  other.build((None, 8, 8, 3))
  for variable, value in zip(other.trainable_variables, weights, strict=True):
    variable.assign(value)
  np.testing.assert_allclose(
    stateless.call_network(network, X, T, weights=weights), other(X, T), rtol=1e-5, atol=1e-5
  )


def test_too_few_weights_are_refused(network):
  with pytest.raises(ValueError, match="zip"):
    stateless.call_network(network, X, T, weights=[network.trainable_variables[0].value])


def test_weights_of_another_shape_are_refused(network):
  weights = [variable.value for variable in network.trainable_variables]
  with pytest.raises(ValueError, match=r"unet/.*: expected \(.*\), received \(7,\)"):
    stateless.call_network(network, X, T, weights=[tf.zeros([7]), *weights[1:]])


def test_weights_are_cast_to_the_types_in_which_layers_compute():
  mixed = networks.UNet(**small_model.NETWORK, dtype="mixed_bfloat16")
  mixed.build((None, 8, 8, 3))
  weights = stateless.cast_weights(mixed)
  types = {
    variable.path.removeprefix("unet/"): weight.dtype.name
    for variable, weight in zip(mixed.trainable_variables, weights, strict=True)
  }
  assert types["input_1_0/in_conv/kernel"] == types["middle_1/qkv/bias"] == "bfloat16"
  assert types["input_1_0/emb_dense/kernel"] == types["input_0_0/kernel"] == "bfloat16"
  assert types["time_in/kernel"] == types["out_conv/kernel"] == "float32"
  assert types["input_1_0/in_norm/gamma"] == types["out_norm/beta"] == "float32"
  # The layers would cast them in the same way.
  np.testing.assert_array_equal(
    stateless.call_network(mixed, X, T, weights=weights), stateless.call_network(mixed, X, T)
  )


@pytest.mark.parametrize("remat", [False, True])
def test_blocks_run_again_in_the_backward_pass_with_remat_only(network, remat, monkeypatch):
  calls, apply = [], encoder.apply

  def counted(block, *arguments):
    calls.append(block)
    return apply(block, *arguments)

  monkeypatch.setattr(encoder, "apply", counted)
  weights = [tf.identity(variable.value) for variable in network.trainable_variables]

  @tf.function(autograph=False)
  def gradients():
    with tf.GradientTape() as tape:
      tape.watch(weights)
      output = stateless.call_network(
        network, X, T, weights=weights, dropout_seed=[1, 2], remat=remat
      )
    return tape.gradient(output, weights)

  assert all(np.any(gradient) for gradient in gradients())
  assert len(calls) == (2 if remat else 1) * len(network.blocks)


def test_gradients_flow_to_variables_and_to_other_weights(network):
  variables = [variable.value for variable in network.trainable_variables]
  weights = [tf.identity(variable) for variable in variables]
  with tf.GradientTape(persistent=True) as tape:
    tape.watch(weights)
    own = tf.reduce_sum(stateless.call_network(network, X, T, dropout_seed=[1, 2]) ** 2)
    given = tf.reduce_sum(
      stateless.call_network(network, X, T, weights=weights, dropout_seed=[1, 2]) ** 2
    )
  for gradient, other in zip(
    tape.gradient(own, variables), tape.gradient(given, weights), strict=True
  ):
    assert np.any(gradient)
    np.testing.assert_allclose(gradient, other, rtol=1e-4, atol=1e-4)


def test_super_resolution_takes_a_small_image():
  network = networks.SuperResolutionUNet(**small_model.NETWORK)
  assert stateless.call_network(network, X, T, low_res=X[:, :4, :4]).shape == (2, 8, 8, 3)
