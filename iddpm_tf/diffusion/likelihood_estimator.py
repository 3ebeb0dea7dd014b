"""Estimates the bound's sum over all timesteps from a few terms, by stratified sampling.

The estimate is of the full sum: sum_t mean_i E[L_t(x_i)] over T timesteps, a given set of images
and the noise of x_t. The timesteps are divided into strata, blocks that grow with t as the terms
fall (nearly as 1/t). A pilot sample measures the spread of the terms in each stratum, and thus
where an evaluation is worth most (Neyman, 1934). The pilot is not used further. The main sample
draws t, an image and noise anew for each evaluation, independently and in the pilot's proportions,
until the estimate has the standard error that was asked for.

Given the sizes of the strata's samples, the estimate is unbiased, and its squared standard error is
an unbiased estimate of its variance (Cochran, 1977, chapter 5) for every pilot. The stopping rule
looks at the sample itself; `LEAST` keeps the bias of this small, which the tests measure.

The history of `timestep_sampling.LossSecondMomentSampler` could replace the pilot. It is not used,
because it holds the training objective of training images under earlier weights, and because the
pilot is only a tenth of the work.
"""

from collections.abc import Callable
from collections.abc import Iterator
import math
from typing import NamedTuple

import numpy as np

from iddpm_tf import settings

# Growth of the strata's starts. Within a stratum, terms differ more by image and noise than by t.
GROWTH = 1.25
PILOT = 32  # Evaluations per stratum of the pilot.
LEAST = 16  # Evaluations per stratum of the main sample, however small the spread is.
# Share of the main sample that is spread evenly, because the pilot may have missed a rare value.
UNIFORM_MIX = 0.1
ROUND = (1.01, 1.1)  # Bounds of the growth of the sample between two checks of its standard error.

# `(t, image, key) -> terms`: int32 [n], int32 [n] and int64 [n] to bits/dim [n]. No other
# evaluation has the same key, a number from 0 on, which seeds the noise.
EvaluateFn = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class Plan(NamedTuple):
  """The result of a pilot: how to divide the main sample between the strata."""

  edges: np.ndarray  # int64 [S + 1]: stratum s holds t in [edges[s], edges[s + 1]).
  shares: np.ndarray  # float64 [S], the strata's shares of the sample; they sum to 1.
  evaluations: int  # Evaluations of the pilot.
  variance: float  # The variance of the estimate, times the size of the sample.


class Estimate(NamedTuple):
  """An estimate of the bound, bits/dim."""

  total: float  # sum_t mean_i E[L_t(x_i)], that is the bound without L_T.
  stderr: (
    float  # Standard error of `total` over draws of t, images and noise, not over other images.
  )
  evaluations: int  # Evaluations up to now, with the pilot's.
  expected: int  # Evaluations that the target is expected to take in all, with the pilot's.
  counts: np.ndarray  # int64 [S], evaluations of the main sample in each stratum.
  means: np.ndarray  # float64 [S], the mean term of each stratum.
  deviations: np.ndarray  # float64 [S], the standard deviation of the terms of each stratum.


def strata(num_timesteps: int) -> np.ndarray:
  """Returns the edges of the strata, int64 `[S + 1]`.

  The first timesteps have a stratum each. The size of later strata is proportional to t.
  """
  edges = [0]
  while edges[-1] < num_timesteps:
    edges.append(min(max(edges[-1] + 1, int(edges[-1] * GROWTH)), num_timesteps))
  return np.array(edges)


def least_evaluations(num_timesteps: int) -> int:
  """Returns the smallest number of evaluations of any estimate."""
  return (len(strata(num_timesteps)) - 1) * (PILOT + LEAST)


def make_plan(evaluate: EvaluateFn, num_timesteps: int, num_images: int, *, seed: int) -> Plan:
  """Runs the pilot.

  Args:
    evaluate: evaluates terms of the bound; see `EvaluateFn`.
    num_timesteps: T.
    num_images: the number of images, which are numbered from 0.
    seed: the seed of timesteps and images, at least 0.

  Raises:
    InputError: a term is not finite.
  """
  edges = strata(num_timesteps)
  stratum = np.repeat(np.arange(len(edges) - 1), PILOT)
  rng = np.random.default_rng([seed, 0])
  terms = _draw(evaluate, rng, edges, stratum, num_images, first_key=0)
  _, _, deviations = moments(stratum, terms)
  spread = np.diff(edges) * deviations  # [S]
  shares = allocation(spread)
  return Plan(edges, shares, len(terms), float(np.sum(np.square(spread) / shares)))


def allocation(spread: np.ndarray) -> np.ndarray:
  """Returns Neyman's allocation with a part spread evenly: shares `[S]` that sum to 1.

  Args:
    spread: the size times the standard deviation of each stratum, `[S]`.
  """
  even = np.full(len(spread), 1 / len(spread))
  total = np.sum(spread)
  return even if total == 0 else (1 - UNIFORM_MIX) * spread / total + UNIFORM_MIX * even


def estimates(
  evaluate: EvaluateFn,
  plan: Plan,
  num_images: int,
  *,
  target: float,
  limit: int,
  seed: int,
) -> Iterator[Estimate]:
  """Yields an estimate after each round, until its standard error is at most `target`.

  Args:
    evaluate: the function that was given to `make_plan`.
    plan: the result of `make_plan`.
    num_images: the number that was given to `make_plan`.
    target: the standard error to reach, bits/dim, above 0.
    limit: the number of evaluations, with the pilot's, after which no further round begins even if
      the target has not been reached.
    seed: the seed that was given to `make_plan`.

  Raises:
    InputError: a term is not finite.
  """
  rng = np.random.default_rng([seed, 1])
  stratum, terms = np.zeros(0, np.int64), np.zeros(0)
  size = max(LEAST * len(plan.shares), min(plan.variance / target**2 / 2, limit - plan.evaluations))
  while True:
    # Rounded up, the count of a stratum never falls as the size grows.
    counts = np.maximum(np.ceil(plan.shares * size).astype(np.int64), LEAST)
    new = np.repeat(np.arange(len(counts)), counts - np.bincount(stratum, minlength=len(counts)))
    first_key = plan.evaluations + len(terms)
    drawn = _draw(evaluate, rng, plan.edges, new, num_images, first_key=first_key)
    terms = np.append(terms, drawn)
    stratum = np.append(stratum, new)
    estimate = _estimate(plan, stratum, terms)
    needed = len(terms) * (estimate.stderr / target) ** 2
    expected = max(plan.evaluations + math.ceil(needed), estimate.evaluations)
    yield estimate._replace(expected=expected)
    if estimate.stderr <= target or estimate.evaluations >= limit:
      return
    # Grow towards what is needed, by 1% to 10% at a time.
    size = np.clip(needed, math.ceil(len(terms) * ROUND[0]), len(terms) * ROUND[1])
    size = min(size, limit - plan.evaluations)


def moments(stratum: np.ndarray, terms: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns the count, mean and standard deviation (n - 1) of each stratum's terms, `[S]` each.

  Args:
    stratum: the stratum of each term, int `[n]`.
    terms: float64 `[n]`.
  """
  counts = np.bincount(stratum)
  means = np.bincount(stratum, terms) / counts
  # Squares are of deviations from the mean, so that nothing cancels.
  squares = np.bincount(stratum, np.square(terms - means[stratum]))
  return counts, means, np.sqrt(squares / (counts - 1))


def _estimate(plan, stratum, terms):
  sizes = np.diff(plan.edges)
  counts, means, deviations = moments(stratum, terms)
  stderr = float(np.sqrt(np.sum(np.square(sizes * deviations) / counts)))
  evaluations = plan.evaluations + len(terms)
  total = float(np.sum(sizes * means))
  return Estimate(total, stderr, evaluations, evaluations, counts, means, deviations)


def _draw(evaluate, rng, edges, stratum, num_images, first_key):
  """Evaluates a random timestep of each stratum `[n]` for a random image: terms, float64 `[n]`."""
  t = rng.integers(edges[stratum], edges[stratum + 1], dtype=np.int32)
  image = rng.integers(num_images, size=len(t), dtype=np.int32)
  terms = np.asarray(evaluate(t, image, first_key + np.arange(len(t))), np.float64)
  if not np.all(np.isfinite(terms)):
    at = np.argmin(np.isfinite(terms))
    raise settings.InputError(
      "nll_stderr",
      f"expected finite terms of the bound, received {terms[at]} at t = {t[at]} of image "
      f"{image[at]}",
    )
  return terms
