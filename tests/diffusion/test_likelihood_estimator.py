"""The estimator, for a known sum: terms fall as 1/t, and images and noise have heavy tails."""

import numpy as np
import pytest

from iddpm_tf import settings
from iddpm_tf.diffusion import likelihood_estimator as estimator

STEPS, IMAGES = 1000, 50
TERMS = 0.5 / (1 + np.arange(STEPS))  # [T], means over images and noise.
DIFFICULTY = np.exp(0.3 * np.random.default_rng(0).standard_normal(IMAGES))
DIFFICULTY /= np.mean(DIFFICULTY)
LIMIT = STEPS * IMAGES


def noisy_terms(seed, scatter=0.5):
  """Returns an `EvaluateFn` whose terms have lognormal noise. Their full sum is that of `TERMS`."""
  rng = np.random.default_rng([seed, 5])

  def evaluate(t, image, key):
    del key
    noise = scatter * rng.standard_normal(len(t)) - scatter**2 / 2
    return TERMS[t] * DIFFICULTY[image] * np.exp(noise)

  return evaluate


def run(evaluate, target, seed, limit=LIMIT):
  """Returns the `Plan`, and the `Estimate` of each round."""
  plan = estimator.make_plan(evaluate, STEPS, IMAGES, seed=seed)
  estimates = estimator.estimates(evaluate, plan, IMAGES, target=target, limit=limit, seed=seed)
  return plan, list(estimates)


def final_estimates(target, scatter, seeds=400):
  """Returns the error, the standard error and the evaluations for each seed, `[seeds, 3]`."""
  last = [run(noisy_terms(seed, scatter), target, seed)[1][-1] for seed in range(seeds)]
  return np.array([(each.total - np.sum(TERMS), each.stderr, each.evaluations) for each in last])


@pytest.mark.parametrize("steps", [1, 2, 3, 25, 1000, 4000])
def test_the_strata_cover_all_timesteps_and_grow_with_t(steps):
  edges = estimator.strata(steps)
  assert edges[0] == 0 and edges[-1] == steps and np.all(np.diff(edges) > 0)
  np.testing.assert_array_equal(np.diff(edges)[:5], 1)
  assert np.all(np.diff(edges)[1:] <= np.maximum(1, 0.25 * edges[1:-1]))
  assert len(edges) <= 40


def test_the_allocation_is_neyman_s_with_a_part_spread_evenly():
  spread = np.array([4.0, 1.0, 0.0, 3.0])
  shares = estimator.allocation(spread)
  np.testing.assert_allclose(shares, 0.9 * spread / 8 + 0.1 / 4)
  np.testing.assert_allclose(estimator.allocation(np.zeros(4)), 1 / 4)
  variance = np.sum(np.square(spread) / shares)
  assert 8**2 <= variance <= 8**2 / 0.9 < np.sum(np.square(spread)) * 4


def test_moments_agree_with_numpy():
  rng = np.random.default_rng(0)
  stratum, terms = rng.permutation(np.repeat([0, 1, 2], [5, 2, 9])), 1e6 + rng.standard_normal(16)
  counts, means, deviations = estimator.moments(stratum, terms)
  np.testing.assert_array_equal(counts, [5, 2, 9])
  for i in range(3):
    np.testing.assert_allclose(means[i], np.mean(terms[stratum == i]), rtol=1e-14)
    np.testing.assert_allclose(deviations[i], np.std(terms[stratum == i], ddof=1), rtol=1e-9)


@pytest.mark.parametrize("target, scatter", [(0.02, 0.5), (0.05, 0.5), (1.0, 0.5), (0.04, 1.0)])
def test_the_estimate_is_unbiased_and_its_standard_error_is_right(target, scatter):
  errors, stderrs, _ = final_estimates(target, scatter).T
  assert np.all(stderrs <= target)
  # The mean of 400 errors has a deviation of a twentieth of a standard error.
  assert abs(np.mean(errors)) < 0.18 * np.mean(stderrs)
  assert 0.9 < np.std(errors) / np.sqrt(np.mean(np.square(stderrs))) < 1.1
  assert 0.92 <= np.mean(np.abs(errors) <= 1.96 * stderrs) <= 0.98


def test_the_number_of_evaluations_is_close_to_the_best_allocation_s():
  target, scatter = 0.02, 0.5
  relative = np.sqrt(np.mean(np.square(DIFFICULTY)) * np.exp(scatter**2) - 1)
  best = (relative * np.sum(TERMS) / target) ** 2
  evaluations = final_estimates(target, scatter, seeds=20)[:, 2]
  plain = STEPS * np.sum(np.square(TERMS) * (1 + relative**2)) / target**2  # Uniform t, no strata.
  assert best <= np.mean(evaluations) <= 1.3 * best
  assert np.max(evaluations) < plain / 20


def test_rounds_add_samples_to_every_stratum_by_its_share():
  plan, rounds = run(noisy_terms(0), 0.02, 0)
  assert len(rounds) > 2
  counts = np.array([estimate.counts for estimate in rounds])
  assert np.all(counts[0] >= estimator.LEAST) and np.all(np.diff(counts, axis=0) >= 0)
  for estimate in rounds:
    assert estimate.evaluations == plan.evaluations + np.sum(estimate.counts) <= estimate.expected
    # Counts are proportional to the shares, rounded up.
    size = np.sum(estimate.counts)
    assert np.all(estimate.counts <= np.maximum(plan.shares * size + 1, estimator.LEAST))
  assert all(estimate.stderr > 0.02 for estimate in rounds[:-1])
  assert rounds[-1].evaluations == rounds[-1].expected >= estimator.least_evaluations(STEPS)


def test_keys_are_unique_and_all_images_and_timesteps_are_drawn():
  seen = []

  def evaluate(t, image, key):
    seen.append((t, image, key))
    return noisy_terms(len(seen))(t, image, key)

  _, rounds = run(evaluate, 0.01, 0)
  t, image, key = (np.concatenate(column) for column in zip(*seen, strict=True))
  assert t.dtype == image.dtype == np.int32 and key.dtype == np.int64
  np.testing.assert_array_equal(key, np.arange(rounds[-1].evaluations))
  np.testing.assert_array_equal(np.unique(image), np.arange(IMAGES))
  assert set(t) >= set(range(200)) and np.max(t) < STEPS
  # Within a stratum, all timesteps are equally likely.
  assert abs(np.mean(t[t >= 800]) - 899.5) < 20


def test_the_estimate_does_not_contain_the_pilot():
  pilot = (len(estimator.strata(STEPS)) - 1) * estimator.PILOT

  def evaluate(t, image, key):
    del image
    return np.where(key < pilot, 100.0, np.where(t < 5, TERMS[t], 0))

  plan, (estimate,) = run(evaluate, 0.01, 0)
  assert plan.evaluations == pilot and plan.variance == 0
  # Terms without variance are known exactly.
  np.testing.assert_allclose(estimate.total, np.sum(TERMS[:5]), rtol=1e-12)
  assert estimate.stderr == pytest.approx(0, abs=1e-12)


def test_the_estimate_is_a_function_of_the_seed():
  def evaluate(t, image, key):
    del key
    return TERMS[t] * DIFFICULTY[image]

  first, same, other = (run(evaluate, 0.02, seed)[1][-1] for seed in (3, 3, 4))
  assert first.total == same.total and first.stderr == same.stderr
  assert first.total != other.total


def test_the_limit_ends_the_sampling_before_the_target_is_reached():
  _, rounds = run(noisy_terms(0), 1e-5, 0, limit=5000)
  last = rounds[-1]
  assert last.stderr > 1e-5 and last.expected > 10**7
  assert 5000 <= last.evaluations <= 5000 + len(last.counts)
  # A limit that is too low for any estimate gives the smallest one.
  (least,) = run(noisy_terms(0), 1e-5, 0, limit=1)[1]
  assert np.all(least.counts >= estimator.LEAST)


def test_a_term_that_is_not_finite_is_named():
  def evaluate(t, image, key):
    del image, key
    return np.where(t == 3, np.nan, 1.0)

  with pytest.raises(settings.InputError, match=r"^nll_stderr: expected .* nan at t = 3 of image"):
    run(evaluate, 0.1, 0)
