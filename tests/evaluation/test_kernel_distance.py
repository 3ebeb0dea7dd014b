"""KID against its formula, and at its limits."""

import numpy as np
import pytest

from iddpm_tf import settings
from iddpm_tf.evaluation import kernel_distance


def features(seed, count, shift=0.0):
  return np.random.default_rng(seed).normal(shift, 1, size=[count, 4])


def by_formula(x, y):
  """Returns the unbiased estimate of the squared MMD, pair by pair."""

  def kernel(a, b):
    return (np.dot(a, b) / len(a) + 1) ** 3

  def within(z):
    pairs = [kernel(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j]
    return np.mean(pairs)

  return within(x) + within(y) - 2 * np.mean([kernel(a, b) for a in x for b in y])


def test_a_block_agrees_with_the_formula(monkeypatch):
  x, y = features(0, 17), features(1, 12, shift=0.5)
  expected = by_formula(x, y)
  assert kernel_distance.squared_mmd(x, y) == pytest.approx(expected, rel=1e-12)
  monkeypatch.setattr(kernel_distance, "_ROWS", 5)
  assert kernel_distance.squared_mmd(x, y) == pytest.approx(expected, rel=1e-12)


def test_the_result_is_the_mean_of_random_blocks_of_all_images():
  x, y = features(0, 103), features(1, 58, shift=0.5)
  result = kernel_distance.kernel_distance(x, y)
  parts = [
    [z[part] for part in np.array_split(np.random.RandomState(0).permutation(len(z)), 10)]
    for z in (x, y)
  ]
  estimates = [by_formula(*pair) for pair in zip(*parts, strict=True)]
  assert result.mean == pytest.approx(np.mean(estimates), rel=1e-9)
  assert result.standard_error == pytest.approx(np.std(estimates, ddof=1) / 10**0.5, rel=1e-9)


def test_large_sets_have_a_block_for_each_thousand(monkeypatch):
  sizes = []
  monkeypatch.setattr(
    kernel_distance, "squared_mmd", lambda x, y: sizes.append((len(x), len(y))) or len(sizes)
  )
  kernel_distance.kernel_distance(features(0, 24_000), features(1, 12_500))
  assert sizes == [(2000, 1042)] * 8 + [(2000, 1041)] * 4


def test_sets_of_one_distribution_are_at_0_within_the_standard_error():
  """The estimate is unbiased for every number of images, and therefore also below 0."""
  results = [
    kernel_distance.kernel_distance(features(2 * seed, 60), features(2 * seed + 1, 40))
    for seed in range(200)
  ]
  means = np.array([result.mean for result in results])
  assert abs(means.mean()) < 3 * means.std() / 200**0.5
  assert 0.3 < np.mean(means < 0) < 0.8
  errors = np.array([result.standard_error for result in results])
  assert errors.mean() == pytest.approx(means.std(), rel=0.25)
  far = kernel_distance.kernel_distance(features(0, 60), features(1, 40, shift=2.0))
  assert far.mean > 5 * max(far.standard_error, means.max())


def test_few_images_have_fewer_blocks():
  assert kernel_distance.kernel_distance(features(0, 2), features(1, 9)).standard_error is None
  four = kernel_distance.kernel_distance(features(0, 4), features(1, 9))
  assert four.standard_error is not None and four.standard_error > 0


def test_what_cannot_be_compared_is_refused():
  good = features(0, 10)
  for reference, sample, message in (
    (good, good[:1], r"^sample: expected 2 images or more for KID, received 1$"),
    (good[:1], good, r"^reference: expected 2 images or more for KID, received 1$"),
    (good, good[:, :3], r"^sample: expected 4 numbers per image, .* received 3$"),
    (good, good * np.nan, r"^sample: expected finite numbers, received 10 of 10 rows"),
  ):
    with pytest.raises(settings.InputError, match=message):
      kernel_distance.kernel_distance(reference, sample)
