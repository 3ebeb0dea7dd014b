"""Group normalization with conditioning and silu: its values and its gradient."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.networks import group_norm

SHAPE = (3, 4, 6, 64)


def make_inputs(mean=0.0, dtype=tf.float32):
  rng = np.random.default_rng(0)
  x = rng.standard_normal(SHAPE) * rng.uniform(0.5, 2.0, (1, 1, 1, 64)) + mean
  small = [rng.standard_normal(shape) for shape in ((64,), (64,), (3, 64), (3, 64))]
  kinds = (dtype, tf.float32, tf.float32, dtype, dtype)
  return [tf.cast(each, kind) for each, kind in zip((x, *small), kinds)]


def stated(x, gamma, beta, scale=None, shift=None, *, silu):
  """Returns what the function computes, step by step, in float64."""
  groups = tf.reshape(tf.cast(x, tf.float64), (3, 24, group_norm.GROUPS, 2))
  mean, variance = tf.nn.moments(groups, (1, 3), keepdims=True)
  y = tf.reshape((groups - mean) / tf.sqrt(variance + group_norm.EPSILON), SHAPE)
  y = y * tf.cast(gamma, tf.float64) + tf.cast(beta, tf.float64)
  if scale is not None:
    scale, shift = (tf.cast(each, tf.float64)[:, None, None] for each in (scale, shift))
    y = y * (scale + 1) + shift
  return y * tf.sigmoid(y) if silu else y


@tf.function(autograph=False)
def value_and_gradients(function, inputs):
  upstream = np.random.default_rng(1).standard_normal(SHAPE)
  with tf.GradientTape() as tape:
    tape.watch(inputs)
    y = function(*inputs)
    total = tf.reduce_sum(tf.cast(y, tf.float64) * upstream)
  return y, tape.gradient(total, inputs)


@pytest.mark.parametrize("mean", [0.0, 30.0])
@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("conditioned", [False, True])
def test_values_and_gradients_are_those_of_the_statement(conditioned, silu, mean):
  inputs = make_inputs(mean)[: 5 if conditioned else 3]
  ours = value_and_gradients(lambda *each: group_norm.group_norm(*each, silu=silu), inputs)
  expected = value_and_gradients(lambda *each: stated(*each, silu=silu), inputs)
  # With a mean of 30 deviations, float32 leaves a thirtieth of its digits.
  tolerance = 1e-5 if mean == 0 else 3e-4
  for value, other in zip(tf.nest.flatten(ours), tf.nest.flatten(expected), strict=True):
    np.testing.assert_allclose(value, other, rtol=0, atol=tolerance * np.abs(other).max())


def test_bfloat16_rounds_the_inputs_and_the_results_only():
  inputs = make_inputs(dtype=tf.bfloat16)
  y, gradients = value_and_gradients(lambda *each: group_norm.group_norm(*each, silu=True), inputs)
  expected_y, expected = value_and_gradients(lambda *each: stated(*each, silu=True), inputs)
  assert [each.dtype for each in (y, *gradients)] == [inputs[0].dtype, *(x.dtype for x in inputs)]
  for value, other in zip((y, *gradients), (expected_y, *expected), strict=True):
    error = np.asarray(value, np.float64) - np.asarray(other, np.float64)
    assert np.abs(error).max() <= 2**-7 * np.abs(np.asarray(other, np.float64)).max()


def test_height_and_width_may_be_unknown():
  def gradient(x):
    with tf.GradientTape() as tape:
      tape.watch(x)
      y = tf.square(group_norm.group_norm(x, tf.ones([64]), tf.zeros([64]), silu=True))
    return tape.gradient(y, x)

  signature = [tf.TensorSpec([None, None, None, 64])]
  graph = tf.function(gradient, input_signature=signature, autograph=False)
  x = make_inputs()[0]
  np.testing.assert_allclose(graph(x), gradient(x), atol=1e-5)
