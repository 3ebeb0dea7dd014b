"""Networks of one architecture share a graph, and each has its own weights."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import networks
from iddpm_tf.models import inference
from tests import small_model

X_T, T = tf.ones([2, 4, 4, 3]), tf.constant([0.0, 7.0])


def make_network(seed, *, make=networks.UNet, channels=3, **options):
  network = make(**{**small_model.NETWORK, **options})
  network.build((None, 4, 4, channels))
  random = np.random.default_rng(seed)
  for variable in network.trainable_variables:
    variable.assign(0.1 * random.standard_normal(variable.shape))
  return network


def draw(network, traced, x_t=X_T, t=T):
  """Returns the output in a new graph, and counts the traces of the network in `traced`."""

  def call(*inputs):
    return inference.make_model_fn(network, None)(*inputs)

  original = inference.stateless.call_network

  def counting(*args, **options):
    traced.append(args[0])
    return original(*args, **options)

  inference.stateless.call_network = counting
  try:
    return tf.function(call, autograph=False)(x_t, t).numpy()
  finally:
    inference.stateless.call_network = original


def test_one_trace_serves_networks_of_an_architecture_also_after_the_first_is_freed():
  traced = []
  first, second = make_network(0), make_network(1, dropout=0.5)
  for network in (first, second, first):
    expected = network(X_T, T).numpy()
    np.testing.assert_allclose(draw(network, traced), expected, rtol=1e-4, atol=1e-5)
  assert traced == [first]
  traced.clear()
  freed, first, network = weakref.ref(first), None, None
  while gc.collect():
    pass
  assert freed() is None
  np.testing.assert_allclose(draw(second, traced), second(X_T, T), rtol=1e-4, atol=1e-5)
  assert not traced
  # For another size, the network that is left is traced.
  small = inference.make_model_fn(second, None)(X_T[:, :2, :2], T)
  np.testing.assert_allclose(small, second(X_T[:, :2, :2], T), rtol=1e-4, atol=1e-5)


def test_another_architecture_or_precision_has_a_graph_of_its_own():
  traced = []
  two_blocks, three_blocks = make_network(0, num_res_blocks=2), make_network(0, num_res_blocks=3)
  made = [two_blocks, three_blocks, make_network(0, num_res_blocks=2, dtype="mixed_bfloat16")]
  for network in made:
    draw(network, traced)
  assert traced == made


def freeze(network):
  network.trainable = False


def freeze_a_layer(network):
  network.time_in.trainable = False


def adapt(network):
  network.time_in.enable_lora(2)


@pytest.mark.parametrize("change", [freeze, freeze_a_layer, adapt])
def test_networks_with_weights_that_are_not_trained_keep_their_own(change):
  made = [make_network(seed, num_res_blocks=2) for seed in range(3)]
  for network in made[:2]:
    change(network)
  for network in made:  # The last one is not changed.
    np.testing.assert_allclose(draw(network, []), network(X_T, T), rtol=1e-4, atol=1e-5)


class Scaled(networks.UNet):
  """Has an attribute that its configuration does not name."""

  scale = 1.0

  def call(self, *args, **options):
    return self.scale * super().call(*args, **options)


def test_networks_of_other_classes_are_called_themselves():
  made = [make_network(0, make=Scaled), make_network(0, make=Scaled)]
  made[1].scale = 5.0
  outputs = [draw(network, []) for network in made]
  np.testing.assert_allclose(outputs[1], 5 * outputs[0], rtol=1e-5)


def test_networks_with_layers_of_other_types_keep_them():
  made = [make_network(0, num_res_blocks=2), make_network(0, num_res_blocks=2)]
  made[1].middle[0].in_norm.dtype_policy = keras.dtype_policies.get("mixed_bfloat16")
  outputs = [draw(network, []) for network in made]
  for output, network in zip(outputs, made):
    np.testing.assert_allclose(output, network(X_T, T), rtol=1e-4, atol=1e-5)
  assert np.any(outputs[0] != outputs[1])


def test_networks_of_other_channels_have_graphs_of_their_own():
  made = [make_network(0, channels=channels, out_channels=2) for channels in (1, 2)]
  model_fns = [inference.make_model_fn(network, None) for network in made]
  for model_fn, network, channels in zip(model_fns, made, (1, 2)):
    x_t = X_T[..., :channels]
    np.testing.assert_allclose(model_fn(x_t, T), network(x_t, T), rtol=1e-4, atol=1e-5)


def test_batches_of_all_sizes_share_a_graph_and_may_be_arrays():
  network, traced = make_network(0, out_channels=5), []  # Of no other test.
  for count in (1, 3):
    x_t, t = np.ones([count, 4, 4, 3], np.float32), np.full(count, 3.0, np.float32)
    output = draw(network, traced, x_t, t)
    assert output.shape == (count, 4, 4, 5)
    np.testing.assert_allclose(output, network(x_t, t), rtol=1e-4, atol=1e-5)
  assert traced == [network]
  np.testing.assert_array_equal(inference.make_model_fn(network, None)(x_t, t), output)


def test_weights_have_gradients_also_where_the_function_was_made_before():
  network = make_network(0, num_res_blocks=2)
  model_fn = inference.make_model_fn(network, None)
  slopes = []
  for each in (model_fn, network):
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(each(X_T, T) ** 2)
    slopes.append(tape.gradient(loss, network.out_conv.bias.value))
  np.testing.assert_allclose(*slopes, rtol=1e-4)


def test_a_tape_differentiates_the_output_also_after_the_network_was_traced():
  network = make_network(0, num_res_blocks=2)
  draw(network, [])
  slopes = []
  for model_fn in (inference.make_model_fn(network, None), network):
    with tf.GradientTape() as tape:
      tape.watch(X_T)
      loss = tf.reduce_sum(model_fn(X_T, T) ** 2)
    slopes.append(tape.gradient(loss, X_T))
  np.testing.assert_allclose(*slopes, rtol=1e-4, atol=1e-4)
