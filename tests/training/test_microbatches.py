"""One step in microbatches, without a graph. `test_replicas.py` has graphs of several steps."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.training import state as state_lib
from iddpm_tf.training import train_step

BATCH = 8
RNG = np.random.default_rng(0)
IMAGES = {
  "image": tf.constant(RNG.uniform(-1, 1, (BATCH, 8, 8, 1)), tf.float32),
  "label": tf.constant(RNG.integers(0, 10, BATCH), tf.int32),
}


def make_state(
  parts, dropout=0.0, precision="float32", objective="vlb", remat=False, graph_optimizer="auto"
):
  config = config_lib.Config(
    network=config_lib.NetworkConfig(
      base_channels=64,
      channel_multipliers=(1,),
      num_res_blocks=1,
      attention_resolutions=(),
      dropout=dropout,
      class_conditional=True,
      low_res_size=4,
      precision=precision,
    ),
    diffusion=config_lib.DiffusionConfig(
      diffusion_steps=4, objective=objective, timestep_sampler="loss_second_moment"
    ),
    data=config_lib.DataConfig(image_shape=(8, 8, 1), num_classes=10),
    training=config_lib.TrainingConfig(
      batch_size=BATCH,
      microbatches=parts,
      learning_rate=1e-4,
      remat=remat,
      graph_optimizer=graph_optimizer,
    ),
  )
  state = state_lib.TrainState(config)
  rng = np.random.default_rng(0)
  # Some weights start as zeros, behind which no gradient is seen.
  state.weights.assign(
    [
      weight + rng.normal(0, 0.02, weight.shape).astype(np.float32)
      for weight in state.weights.read()
    ]
  )
  # Importance sampling has begun, so the losses are weighted.
  state.timestep_sampler.losses.assign(
    tf.repeat(tf.constant([[1.0], [2.0], [4.0], [8.0]]), 10, axis=1)
  )
  state.timestep_sampler.counts.assign([10] * 4)
  return state


def step(parts, **options):
  """Returns the `StepRecord` of a first step, and the gradients that it applied."""
  applied, original = [], train_step.apply_gradient

  def apply_gradient(state, gradient, loss):
    applied.extend(state.weights.layout.split(gradient))
    return original(state, gradient, loss)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(train_step, "apply_gradient", apply_gradient)
    return train_step.train_step(make_state(parts, **options), IMAGES), applied


@pytest.fixture(name="whole", scope="module")
def fixture_whole():
  return step(1)


@pytest.fixture(name="calls")
def fixture_calls(monkeypatch):
  """Each call of `loss_and_gradients`: weights, dropout seed, `Losses` and gradient."""
  seen, original = [], train_step.loss_and_gradients

  def record(state, batch, t, weights, noise, dropout_seed):
    results = original(state, batch, t, weights, noise, dropout_seed)
    seen.append((weights, dropout_seed, *results))
    return results

  monkeypatch.setattr(train_step, "loss_and_gradients", record)
  return seen


def test_the_step_is_that_of_the_whole_batch(whole):
  # Weights are not compared: Adam amplifies the rounding of gradients that are zero, such as those
  # of the biases of attention's keys.
  (expected, expected_gradients), (ours, gradients) = whole, step(BATCH)
  assert np.ptp(expected.weights) > 0.1
  np.testing.assert_array_equal(ours.t, expected.t)
  np.testing.assert_array_equal(ours.weights, expected.weights)
  for name in ("loss", "vlb", "grad_norm"):
    np.testing.assert_allclose(
      getattr(ours, name), getattr(expected, name), rtol=1e-4, err_msg=name
    )
  for value, other in zip(gradients, expected_gradients, strict=True):
    np.testing.assert_allclose(value, other, atol=1e-5 * float(expected.grad_norm), rtol=1e-4)


def test_the_norms_are_those_of_the_gradient_of_each_part(calls):
  """The losses are weighted, as in the training."""
  ours, _ = step(4)
  assert len(calls) == 4
  np.testing.assert_array_equal(np.concatenate([weights for weights, *_ in calls]), ours.weights)
  np.testing.assert_array_equal(
    np.concatenate([losses.loss for _, _, losses, _ in calls]), ours.loss
  )
  gradients = [gradient.numpy() for *_, gradient in calls]
  norms = [np.sum(gradient**2) for gradient in gradients]
  assert np.std(norms) > 0.1 * np.mean(norms)
  np.testing.assert_allclose(ours.part_squared_norm, np.mean(norms), rtol=1e-4)
  np.testing.assert_allclose(ours.grad_norm**2, np.sum(np.mean(gradients, axis=0) ** 2), rtol=1e-4)


def test_a_single_part_has_the_norm_of_the_batch(whole):
  record, _ = whole
  np.testing.assert_allclose(record.part_squared_norm, record.grad_norm**2, rtol=1e-5)


def test_each_part_has_its_own_masks_of_dropout_which_the_step_determines(calls, whole):
  first, second = step(2, dropout=0.5), step(2, dropout=0.5)
  seeds = [tuple(seed.numpy()) for _, seed, *_ in calls]
  assert len(set(seeds[:2])) == 2 and seeds[:2] == seeds[2:]
  np.testing.assert_array_equal(first[0].loss, second[0].loss)
  assert np.all(first[0].loss != whole[0].loss)


def test_the_network_is_in_the_graph_once(calls):
  state = make_state(BATCH)
  tf.function(lambda: train_step.train_step(state, IMAGES), autograph=False).get_concrete_function()
  assert len(calls) == 1


def test_activations_that_are_computed_again_give_the_same_gradients():
  """The masks of dropout are the same, too."""
  (expected, expected_gradients), (ours, gradients) = (
    step(1, dropout=0.5, remat=remat) for remat in (False, True)
  )
  np.testing.assert_allclose(ours.loss, expected.loss, rtol=1e-6)
  for value, other in zip(gradients, expected_gradients, strict=True):
    np.testing.assert_allclose(value, other, atol=1e-6 * float(expected.grad_norm))


def test_xla_computes_the_same_losses_and_gradients(whole):
  (expected, expected_gradients), (ours, gradients) = whole, step(1, graph_optimizer="xla")
  assert not np.array_equal(ours.loss, expected.loss)  # XLA rounds otherwise: it has run.
  np.testing.assert_allclose(ours.loss, expected.loss, rtol=1e-4)
  for value, other in zip(gradients, expected_gradients, strict=True):
    np.testing.assert_allclose(value, other, atol=1e-5 * float(expected.grad_norm), rtol=1e-4)


@functools.cache
def gradient(precision, parts):
  """Returns the gradient that a first step applies, `[N]`."""
  # The gradient of L_vlb overflows float16 until the scale has adapted.
  state = make_state(parts, precision=precision, objective="hybrid")
  applied = []

  def keep(state, gradient, loss):
    arrays = state.weights.layout.split(gradient)
    applied.append(np.concatenate([array.numpy().ravel() for array in arrays]))
    return original(state, gradient, loss)

  original = train_step.apply_gradient
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(train_step, "apply_gradient", keep)
    record = train_step.train_step(state, IMAGES)
  assert not record.skipped
  return applied[0]


@pytest.mark.parametrize("parts", [1, 2])
def test_gradients_in_float16_are_those_of_float32_to_rounding(parts):
  """The loss scale keeps what float16 would lose: its smallest number is 6e-8."""
  expected, ours = gradient("float32", 1), gradient("mixed_float16", parts)
  assert np.linalg.norm(ours - expected) < 0.01 * np.linalg.norm(expected)
  assert not np.array_equal(ours, expected)
