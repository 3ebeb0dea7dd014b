"""The estimate of a sum that is known: terms like a bound's, 1/t with heavy tails over images and noise."""

import numpy as np
import pytest

from iddpm_tf.diffusion import likelihood_estimator as likelihood_budget

STEPS, IMAGES = 1000, 50
TERMS = 0.5 / (1 + np.arange(STEPS))  # [T], means over images and noise.
DIFFICULTY = np.exp(0.3 * np.random.default_rng(0).standard_normal(IMAGES))
DIFFICULTY /= np.mean(DIFFICULTY)
LIMIT = STEPS * IMAGES


def bound(seed, scatter=0.5):
  """`evaluate` of terms with lognormal noise; their full sum is that of `TERMS`."""
  rng = np.random.default_rng([seed, 5])

  def evaluate(t, image, key):
    del key
    noise = scatter * rng.standard_normal(len(t)) - scatter**2 / 2
    return TERMS[t] * DIFFICULTY[image] * np.exp(noise)

  return evaluate


def run(evaluate, target, seed, limit=LIMIT):
  """The `Plan`, and the `Estimate` of every round."""
  plan = likelihood_budget.make_plan(evaluate, STEPS, IMAGES, seed=seed)
  return plan, list(
    likelihood_budget.estimates(evaluate, plan, IMAGES, target=target, limit=limit, seed=seed)
  )


def many(target, scatter, seeds=400):
  """Error, standard error and evaluations of a number of seeds, `[seeds, 3]`."""
  last = [run(bound(seed, scatter), target, seed)[1][-1] for seed in range(seeds)]
  return np.array([(e.total - np.sum(TERMS), e.stderr, e.evaluations) for e in last])


@pytest.mark.parametrize("steps", [1, 2, 3, 25, 1000, 4000])
def test_every_timestep_lies_in_one_stratum_of_its_size(steps):
  edges = likelihood_budget.strata(steps)
  assert edges[0] == 0 and edges[-1] == steps and np.all(np.diff(edges) > 0)
  np.testing.assert_array_equal(np.diff(edges)[:5], 1)
  assert np.all(np.diff(edges)[1:] <= np.maximum(1, 0.25 * edges[1:-1]))
  assert len(edges) <= 40


def test_neyman_s_allocation_has_the_least_variance():
  spread = np.array([4.0, 1.0, 0.0, 3.0])
  shares = likelihood_budget.allocation(spread)
  np.testing.assert_allclose(shares, 0.9 * spread / 8 + 0.1 / 4)
  np.testing.assert_allclose(likelihood_budget.allocation(np.zeros(4)), 1 / 4)
  variance = np.sum(np.square(spread) / shares)
  assert 8**2 <= variance <= 8**2 / 0.9 < np.sum(np.square(spread)) * 4


def test_moments_are_numpy_s():
  rng = np.random.default_rng(0)
  stratum, terms = rng.permutation(np.repeat([0, 1, 2], [5, 2, 9])), 1e6 + rng.standard_normal(16)
  counts, means, deviations = likelihood_budget.moments(stratum, terms)
  np.testing.assert_array_equal(counts, [5, 2, 9])
  for i in range(3):
    np.testing.assert_allclose(means[i], np.mean(terms[stratum == i]), rtol=1e-14)
    np.testing.assert_allclose(deviations[i], np.std(terms[stratum == i], ddof=1), rtol=1e-9)


@pytest.mark.parametrize("target, scatter", [(0.02, 0.5), (0.05, 0.5), (1.0, 0.5), (0.04, 1.0)])
def test_the_estimate_is_unbiased_and_its_error_is_right(target, scatter):
  errors, stderrs, _ = many(target, scatter).T
  assert np.all(stderrs <= target)
  # The mean of 400 spreads by a twentieth of a standard error.
  assert abs(np.mean(errors)) < 0.18 * np.mean(stderrs)
  assert 0.9 < np.std(errors) / np.sqrt(np.mean(np.square(stderrs))) < 1.1
  assert 0.92 <= np.mean(np.abs(errors) <= 1.96 * stderrs) <= 0.98


def test_it_needs_little_more_than_the_best_allocation():
  target, scatter = 0.02, 0.5
  relative = np.sqrt(np.mean(np.square(DIFFICULTY)) * np.exp(scatter**2) - 1)
  best = (relative * np.sum(TERMS) / target) ** 2
  evaluations = many(target, scatter, seeds=20)[:, 2]
  plain = STEPS * np.sum(np.square(TERMS) * (1 + relative**2)) / target**2  # Uniform t, no strata.
  assert best <= np.mean(evaluations) <= 1.3 * best
  assert np.max(evaluations) < plain / 20


def test_a_round_is_enough_samples_of_every_stratum_and_rounds_only_add():
  plan, rounds = run(bound(0), 0.02, 0)
  assert len(rounds) > 2
  counts = np.array([estimate.counts for estimate in rounds])
  assert np.all(counts[0] >= likelihood_budget.LEAST) and np.all(np.diff(counts, axis=0) >= 0)
  for estimate in rounds:
    assert estimate.evaluations == plan.evaluations + np.sum(estimate.counts) <= estimate.expected
    # In proportion to the shares, rounded up.
    size = np.sum(estimate.counts)
    assert np.all(estimate.counts <= np.maximum(plan.shares * size + 1, likelihood_budget.LEAST))
  assert all(estimate.stderr > 0.02 for estimate in rounds[:-1])
  assert rounds[-1].evaluations == rounds[-1].expected >= likelihood_budget.least_evaluations(STEPS)


def test_each_evaluation_has_a_key_of_its_own_and_all_images_and_timesteps_have_their_turn():
  seen = []

  def evaluate(t, image, key):
    seen.append((t, image, key))
    return bound(len(seen))(t, image, key)

  _, rounds = run(evaluate, 0.01, 0)
  t, image, key = (np.concatenate(column) for column in zip(*seen))
  assert t.dtype == image.dtype == np.int32 and key.dtype == np.int64
  np.testing.assert_array_equal(key, np.arange(rounds[-1].evaluations))
  np.testing.assert_array_equal(np.unique(image), np.arange(IMAGES))
  assert set(t) >= set(range(200)) and np.max(t) < STEPS
  # Where a stratum has many timesteps, they are alike.
  assert abs(np.mean(t[t >= 800]) - 899.5) < 20


def test_the_pilot_is_put_aside():
  pilot = (len(likelihood_budget.strata(STEPS)) - 1) * likelihood_budget.PILOT

  def evaluate(t, image, key):
    del image
    return np.where(key < pilot, 100.0, np.where(t < 5, TERMS[t], 0))

  plan, (estimate,) = run(evaluate, 0.01, 0)
  assert plan.evaluations == pilot and plan.variance == 0
  # Terms that do not spread are known exactly.
  np.testing.assert_allclose(estimate.total, np.sum(TERMS[:5]), rtol=1e-12)
  assert estimate.stderr == pytest.approx(0, abs=1e-12)


def test_it_is_a_function_of_the_seed():
  def evaluate(t, image, key):
    del key
    return TERMS[t] * DIFFICULTY[image]

  first, same, other = (run(evaluate, 0.02, seed)[1][-1] for seed in (3, 3, 4))
  assert first.total == same.total and first.stderr == same.stderr
  assert first.total != other.total


def test_the_limit_stops_it_with_what_it_has():
  _, rounds = run(bound(0), 1e-5, 0, limit=5000)
  last = rounds[-1]
  assert last.stderr > 1e-5 and last.expected > 10**7
  assert 5000 <= last.evaluations <= 5000 + len(last.counts)
  # One that is too low for any estimate leaves the smallest.
  (least,) = run(bound(0), 1e-5, 0, limit=1)[1]
  assert np.all(least.counts >= likelihood_budget.LEAST)


def test_a_term_that_is_no_number_is_named():
  def evaluate(t, image, key):
    del image, key
    return np.where(t == 3, np.nan, 1.0)

  with pytest.raises(ValueError, match="nan at t = 3 of image"):
    run(evaluate, 0.1, 0)
