"""The bound's sum over all timesteps, estimated from few of them: stratified sampling with Neyman's allocation.

What is estimated is the full sum: sum_t mean_i E[L_t(x_i)] over T timesteps, a given set of images and the noise
of x_t. Timesteps lie in strata, blocks that grow with t as the terms fall (nearly as 1/t). A pilot measures the
spread of the terms in each stratum and so where an evaluation is worth most (Neyman 1934); it is then put aside.
The sample proper draws t, image and noise anew for each evaluation, independently, in the pilot's proportions until
the estimate's standard error is what was asked for.

Given the sizes of the strata's samples, the estimate is unbiased and its squared standard error an unbiased
estimate of its variance (Cochran 1977, chapter 5), whatever the pilot said. Stopping by the standard error
looks at the sample itself; `LEAST` keeps that harmless, which the tests measure.

The history of `timestep_sampling.LossSecondMomentSampler` could replace the pilot. It is not used: it holds the
training objective of training images under weights that have moved on, and the pilot is a tenth of the work.
"""

import math
from typing import NamedTuple

import numpy as np

from iddpm_tf import settings

GROWTH = (
  1.25  # Of the strata's starts: within one, the terms differ by no more than by image and noise.
)
PILOT = 32  # Evaluations a stratum.
LEAST = 16  # Evaluations a stratum of the sample proper, however little it spreads.
UNIFORM_MIX = (
  0.1  # Share of the sample that is spread evenly, in case that the pilot missed something rare.
)
ROUND = (1.01, 1.1)  # How much the sample may grow between two looks at its standard error.


class Plan(NamedTuple):
  """What a pilot says."""

  edges: np.ndarray  # int64 [S + 1]: stratum s is t in [edges[s], edges[s + 1]).
  shares: np.ndarray  # float64 [S], of the sample; they sum to 1.
  evaluations: int  # The pilot's own.
  variance: float  # Of the estimate, times the sample's size.


class Estimate(NamedTuple):
  """What a sample says, bits/dim."""

  total: float  # Of sum_t mean_i E[L_t(x_i)]: all of the bound but L_T.
  stderr: float  # Of `total`, over the draws of t, images and noise; not over other images.
  evaluations: int  # So far, with the pilot's.
  expected: int  # In all, with the pilot's, to reach the target.
  counts: np.ndarray  # int64 [S], of the sample.
  means: np.ndarray  # float64 [S], of a term of the stratum.
  deviations: np.ndarray  # float64 [S], the terms' standard deviations.


def strata(num_timesteps):
  """The edges of the strata, `[S + 1]`: each t by itself at first, then blocks in proportion to t."""
  edges = [0]
  while edges[-1] < num_timesteps:
    edges.append(min(max(edges[-1] + 1, int(edges[-1] * GROWTH)), num_timesteps))
  return np.array(edges)


def least_evaluations(num_timesteps):
  """Evaluations that any estimate takes."""
  return (len(strata(num_timesteps)) - 1) * (PILOT + LEAST)


def make_plan(evaluate, num_timesteps, num_images, *, seed):
  """Runs the pilot.

  Args:
    evaluate: `(t, image, key) -> terms`, int32 `[n]` each and int64 `[n]` to bits/dim `[n]`; a key is a number
      from 0 on that no other evaluation has, to draw its noise by.
    num_timesteps: T.
    num_images: images are numbered from 0.
    seed: of timesteps and images; 0 or more.

  Returns:
    `Plan`.
  """
  edges = strata(num_timesteps)
  stratum = np.repeat(np.arange(len(edges) - 1), PILOT)
  rng = np.random.default_rng([seed, 0])
  terms = _draw(evaluate, rng, edges, stratum, num_images, first_key=0)
  _, _, deviations = moments(stratum, terms)
  spread = np.diff(edges) * deviations  # [S]
  shares = allocation(spread)
  return Plan(edges, shares, len(terms), float(np.sum(np.square(spread) / shares)))


def allocation(spread):
  """Neyman's shares, in proportion to size times standard deviation `[S]`, a part of them spread evenly."""
  even = np.full(len(spread), 1 / len(spread))
  total = np.sum(spread)
  return even if total == 0 else (1 - UNIFORM_MIX) * spread / total + UNIFORM_MIX * even


def estimates(evaluate, plan, num_images, *, target, limit, seed):
  """Yields an `Estimate` after each round; the last one's standard error is at most `target`, bits/dim.

  Args:
    evaluate: as of `make_plan`.
    plan: its result.
    num_images: as of `make_plan`.
    target: bits/dim, above 0.
    limit: evaluations, with the pilot's, after which no further round begins, though the target be missed.
    seed: as of `make_plan`.
  """
  rng = np.random.default_rng([seed, 1])
  stratum, terms = np.zeros(0, np.int64), np.zeros(0)
  size = max(LEAST * len(plan.shares), min(plan.variance / target**2 / 2, limit - plan.evaluations))
  while True:
    # Rounded up, a stratum's number never falls as the size grows.
    counts = np.maximum(np.ceil(plan.shares * size).astype(np.int64), LEAST)
    new = np.repeat(np.arange(len(counts)), counts - np.bincount(stratum, minlength=len(counts)))
    first_key = plan.evaluations + len(terms)
    terms = np.append(terms, _draw(evaluate, rng, plan.edges, new, num_images, first_key=first_key))
    stratum = np.append(stratum, new)
    estimate = _estimate(plan, stratum, terms)
    needed = len(terms) * (estimate.stderr / target) ** 2
    yield estimate._replace(
      expected=max(plan.evaluations + math.ceil(needed), estimate.evaluations)
    )
    if estimate.stderr <= target or estimate.evaluations >= limit:
      return
    # Towards what is needed, in steps of 1% to 10%.
    size = np.clip(needed, math.ceil(len(terms) * ROUND[0]), len(terms) * ROUND[1])
    size = min(size, limit - plan.evaluations)


def moments(stratum, terms):
  """Number, mean and standard deviation (with n - 1) of the terms `[n]` of each stratum `[n]`, `[S]` each."""
  counts = np.bincount(stratum)
  means = np.bincount(stratum, terms) / counts
  # About the mean: nothing cancels.
  squares = np.bincount(stratum, np.square(terms - means[stratum]))
  return counts, means, np.sqrt(squares / (counts - 1))


def _estimate(plan, stratum, terms):
  sizes = np.diff(plan.edges)
  counts, means, deviations = moments(stratum, terms)
  stderr = float(np.sqrt(np.sum(np.square(sizes * deviations) / counts)))
  evaluations = plan.evaluations + len(terms)
  return Estimate(
    float(np.sum(sizes * means)), stderr, evaluations, evaluations, counts, means, deviations
  )


def _draw(evaluate, rng, edges, stratum, num_images, first_key):
  """Terms `[n]` at a random t of each stratum `[n]`, of random images."""
  t = rng.integers(edges[stratum], edges[stratum + 1], dtype=np.int32)
  image = rng.integers(num_images, size=len(t), dtype=np.int32)
  terms = np.asarray(evaluate(t, image, first_key + np.arange(len(t))), np.float64)
  if not np.all(np.isfinite(terms)):
    at = np.argmin(np.isfinite(terms))
    raise settings.InputError(
      "nll_stderr",
      f"expected finite terms of the bound, received {terms[at]} at t = {t[at]} "
      f"of image {image[at]}",
    )
  return terms
