"""Sampling of timesteps in training: Eq. 18, and that the mean loss is unbiased."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.config import DiffusionConfig
from iddpm_tf.diffusion import timestep_sampling
from iddpm_tf.diffusion.timestep_sampling import LossSecondMomentSampler
from iddpm_tf.diffusion.timestep_sampling import UniformSampler

STEPS = 6


class Reference:
  """Eq. 18 in plain Python, which takes one loss at a time."""

  def __init__(self, steps):
    self.losses = [collections.deque(maxlen=10) for _ in range(steps)]

  def update(self, t, losses):
    for timestep, loss in zip(t, losses, strict=True):
      self.losses[timestep].append(loss)

  def probabilities(self):
    uniform = np.full(len(self.losses), 1 / len(self.losses))
    if any(len(history) < 10 for history in self.losses):
      return uniform
    weights = np.array([np.sqrt(np.mean(np.square(history))) for history in self.losses])
    return 0.999 * weights / weights.sum() + 0.001 * uniform


def update(sampler, t, losses):
  sampler.update(tf.constant(t, tf.int32), tf.constant(losses, tf.float32))


def warmed(steps=STEPS, seed=0):
  """Returns a sampler with ten losses for every timestep."""
  sampler = LossSecondMomentSampler(steps)
  rng = np.random.default_rng(seed)
  for _ in range(10):
    update(sampler, np.arange(steps), rng.uniform(0.1, 2, steps) * np.arange(1, steps + 1))
  return sampler


def test_uniform_until_every_timestep_has_ten_losses():
  sampler = LossSecondMomentSampler(3)
  stream = [0] * 50 + [1] * 10 + [2] * 9
  for t in stream:
    update(sampler, [t], [t + 1.0])
    np.testing.assert_allclose(sampler.probabilities(), 1 / 3, rtol=1e-6)
  update(sampler, [2], [3.0])
  np.testing.assert_allclose(
    sampler.probabilities(), 0.999 * np.array([1, 2, 3]) / 6 + 0.001 / 3, rtol=1e-5
  )


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("batch", [1, 5, 64])
def test_probabilities_agree_with_plain_python_for_any_losses(batch, seed):
  rng = np.random.default_rng(seed)
  sampler, reference = LossSecondMomentSampler(STEPS), Reference(STEPS)
  step = tf.function(sampler.update)
  for _ in range(150 if batch < 64 else 20):
    t = rng.choice(STEPS, batch, p=[0.4, 0.2, 0.2, 0.1, 0.05, 0.05])
    losses = rng.exponential(t + 1.0).astype(np.float32)
    step(tf.constant(t, tf.int32), tf.constant(losses))
    reference.update(t, losses)
    np.testing.assert_allclose(sampler.probabilities(), reference.probabilities(), rtol=1e-4)


@pytest.mark.parametrize("count", [9, 10, 11, 20, 37])
def test_the_last_ten_losses_of_a_large_batch_are_kept(count):
  sampler = LossSecondMomentSampler(2)
  update(sampler, [0] * 10, [1.0] * 10)
  old = [100.0] * 10
  update(sampler, [1] * 10, old)
  losses = np.arange(1.0, count + 1)
  update(sampler, [1] * count, losses)
  last = np.sqrt(np.mean(np.square(np.concatenate([old, losses])[-10:])))
  np.testing.assert_allclose(
    sampler.probabilities()[1], 0.999 * last / (1 + last) + 0.0005, rtol=1e-5
  )


def test_a_batch_has_the_effect_of_its_losses_one_by_one():
  rng = np.random.default_rng(0)
  at_once, one_by_one = warmed(), warmed()
  t, losses = rng.integers(0, 3, 64), rng.uniform(0, 5, 64)
  update(at_once, t, losses)
  for i in range(64):
    update(one_by_one, t[i : i + 1], losses[i : i + 1])
  np.testing.assert_array_equal(at_once.probabilities(), one_by_one.probabilities())
  np.testing.assert_array_equal(at_once.losses, one_by_one.losses)


def test_an_empty_batch_changes_nothing():
  sampler = warmed()
  before = sampler.probabilities().numpy()
  update(sampler, [], [])
  np.testing.assert_array_equal(sampler.probabilities(), before)


def test_counts_do_not_grow_with_the_updates():
  """Otherwise int32 counts would overflow in a long training."""
  sampler, reference = warmed(2), Reference(2)
  rng = np.random.default_rng(0)
  step = tf.function(sampler.update)
  for _ in range(300):
    t, losses = rng.integers(0, 2, 32), rng.uniform(1, 2, 32).astype(np.float32)
    step(tf.constant(t, tf.int32), tf.constant(losses))
    reference.update(t, losses)
  assert np.max(sampler.counts) < 100
  np.testing.assert_allclose(sampler.probabilities(), reference.probabilities(), rtol=1e-5)


@pytest.mark.parametrize("make", [UniformSampler, LossSecondMomentSampler, warmed])
@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_probabilities_sum_to_one_and_none_is_zero(make, steps):
  p = make(steps).probabilities()
  assert p.shape == (steps,)
  np.testing.assert_allclose(np.sum(p, dtype=np.float64), 1, rtol=1e-5)
  assert np.min(p) >= 0.00099 / steps


@pytest.mark.parametrize("make", [UniformSampler, warmed])
def test_weights_keep_the_mean_loss_unbiased(make):
  sampler = make(STEPS)
  t, weights = sampler.sample(2000, [1, 2])
  assert t.dtype == tf.int32 and t.shape == weights.shape == (2000,)
  p = sampler.probabilities().numpy()
  table = np.zeros(STEPS)
  table[t.numpy()] = weights
  assert np.all(table > 0)  # Each timestep has been drawn.
  np.testing.assert_allclose(weights, table[t.numpy()])
  losses = np.random.default_rng(0).uniform(size=STEPS)
  np.testing.assert_allclose(np.sum(p * table * losses), np.mean(losses), rtol=1e-5)


@pytest.mark.parametrize("make", [UniformSampler, warmed])
def test_frequencies_agree_with_the_probabilities(make):
  sampler = make(STEPS)
  count = 100_000
  t, _ = sampler.sample(count, [3, 4])
  p = sampler.probabilities().numpy()
  frequencies = np.bincount(t, minlength=STEPS) / count
  assert len(frequencies) == STEPS
  assert np.all(np.abs(frequencies - p) < 5 * np.sqrt(p * (1 - p) / count))


def test_the_seed_determines_the_timesteps():
  sampler = warmed(100)
  first, again, other = (sampler.sample(50, [seed, 0])[0].numpy() for seed in (1, 1, 2))
  np.testing.assert_array_equal(first, again)
  assert np.any(first != other)


def test_losses_of_zero_give_uniform_probabilities():
  sampler = LossSecondMomentSampler(4)
  update(sampler, np.tile(np.arange(4), 10), np.zeros(40))
  np.testing.assert_allclose(sampler.probabilities(), 0.25)


def test_a_timestep_whose_losses_are_zero_is_still_drawn():
  sampler = LossSecondMomentSampler(4)
  update(sampler, np.tile(np.arange(4), 10), np.tile([0.0, 1, 1, 2], 10))
  np.testing.assert_allclose(sampler.probabilities()[0], 0.001 / 4, rtol=1e-5)


@pytest.mark.parametrize("loss", [1e10, 1e20, 1e30, 1e38])
def test_probabilities_are_finite_after_an_enormous_loss(loss):
  """Losses are finite for any output of the network, so the probabilities must be, too."""
  sampler = warmed()
  update(sampler, [2], [loss])
  p = sampler.probabilities()
  assert np.all(np.isfinite(p))
  np.testing.assert_allclose(np.sum(p), 1, rtol=1e-5)
  _, weights = sampler.sample(10, [0, 0])
  assert np.all(np.isfinite(weights))


def test_the_uniform_sampler_learns_nothing():
  sampler = UniformSampler(4)
  update(sampler, [1], [100.0])
  np.testing.assert_array_equal(sampler.probabilities(), 0.25)
  assert not sampler.variables


def test_the_configuration_chooses_the_sampler():
  for name, kind in (("uniform", UniformSampler), ("loss_second_moment", LossSecondMomentSampler)):
    sampler = timestep_sampling.make_timestep_sampler(
      DiffusionConfig(diffusion_steps=30, timestep_sampler=name)
    )
    assert type(sampler) is kind and sampler.num_timesteps == 30
