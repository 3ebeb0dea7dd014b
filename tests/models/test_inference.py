"""Networks of one architecture share a graph, and each has its own weights."""

import gc
import weakref

import numpy as np
import tensorflow as tf

from iddpm_tf import networks
from iddpm_tf.models import inference
from tests import small_model

X_T, T = tf.ones([2, 4, 4, 3]), tf.constant([0.0, 7.0])


def make_network(seed, **options):
  network = networks.UNet(**{**small_model.NETWORK, **options})
  network.build((None, 4, 4, 3))
  random = np.random.default_rng(seed)
  for variable in network.trainable_variables:
    variable.assign(0.1 * random.standard_normal(variable.shape))
  return network


def draw(network, traced):
  """Returns the output in a new graph, and counts the traces of the network in `traced`."""

  def call(*inputs):
    return inference.make_model_fn(network, None)(*inputs)

  original = inference.stateless.call_network

  def counting(*args, **options):
    traced.append(args[0])
    return original(*args, **options)

  inference.stateless.call_network = counting
  try:
    return tf.function(call, autograph=False)(X_T, T).numpy()
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
  # Another size is traced by a network that is left.
  small = inference.make_model_fn(second, None)(X_T[:, :2, :2], T)
  np.testing.assert_allclose(small, second(X_T[:, :2, :2], T), rtol=1e-4, atol=1e-5)


def test_another_architecture_or_precision_has_a_graph_of_its_own():
  traced = []
  two_blocks, three_blocks = make_network(0, num_res_blocks=2), make_network(0, num_res_blocks=3)
  made = [two_blocks, three_blocks, make_network(0, num_res_blocks=2, dtype="mixed_bfloat16")]
  for network in made:
    draw(network, traced)
  assert traced == made


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
