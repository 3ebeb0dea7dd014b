"""The Fréchet distance against closed forms, and streaming against all at once."""

import numpy as np
import pytest
import scipy.linalg

from iddpm_tf import settings
from iddpm_tf.evaluation.frechet import Gaussian
from iddpm_tf.evaluation.frechet import accumulate
from iddpm_tf.evaluation.frechet import extrapolated_distance
from iddpm_tf.evaluation.frechet import frechet_distance
from iddpm_tf.evaluation.frechet import merge
from iddpm_tf.evaluation.frechet import statistics


def features(seed, count=200, size=6):
  """Returns correlated features, whose mean is large against their deviation."""
  random = np.random.default_rng(seed)
  return random.normal(size=[count, size]) @ random.normal(size=[size, size]) + 1000.0


def random_covariance(seed, size=5):
  root = np.random.default_rng(seed).normal(size=[size, size])
  return root @ root.T


def test_one_dimension_is_the_difference_of_means_and_deviations():
  distance = frechet_distance(
    Gaussian(np.array([1.0]), np.array([[4.0]])), Gaussian(np.array([4.0]), np.array([[25.0]]))
  )
  assert distance == pytest.approx((1 - 4) ** 2 + (2 - 5) ** 2, rel=1e-12)


def test_commuting_covariances_reduce_to_their_eigenvalues():
  rotation = np.linalg.qr(np.random.default_rng(0).normal(size=[4, 4]))[0]
  first, second = np.array([1.0, 4.0, 9.0, 0.0]), np.array([16.0, 1.0, 0.0, 0.0])
  distance = frechet_distance(
    Gaussian(np.zeros(4), rotation * first @ rotation.T),
    Gaussian(np.full(4, 0.5), rotation * second @ rotation.T),
  )
  assert distance == pytest.approx(1 + np.sum((np.sqrt(first) - np.sqrt(second)) ** 2), rel=1e-9)


def test_general_covariances_agree_with_a_matrix_square_root():
  first, second = random_covariance(1), random_covariance(2)
  mean = np.arange(5.0)
  root = scipy.linalg.sqrtm(first @ second).real
  expected = mean @ mean + np.trace(first + second - 2 * root)
  assert frechet_distance(Gaussian(mean, first), Gaussian(0 * mean, second)) == pytest.approx(
    expected, rel=1e-9
  )


def test_is_symmetric():
  first, second = statistics(features(3)).gaussian, statistics(features(4)).gaussian
  assert frechet_distance(first, second) == pytest.approx(
    frechet_distance(second, first), rel=1e-10
  )


@pytest.mark.parametrize("count", [200, 3])
def test_a_set_has_distance_0_from_itself_also_with_fewer_images_than_features(count):
  gaussian = statistics(features(5, count=count)).gaussian
  assert frechet_distance(gaussian, gaussian) <= 1e-12 * np.trace(gaussian.covariance)


def test_singular_covariances_of_disjoint_directions():
  first, second = np.diag([4.0, 0.0, 0.0]), np.diag([0.0, 9.0, 0.0])
  assert frechet_distance(
    Gaussian(np.zeros(3), first), Gaussian(np.zeros(3), second)
  ) == pytest.approx(13)
  assert frechet_distance(Gaussian(np.zeros(3), 0 * first), Gaussian(np.zeros(3), second)) == 9


def test_streaming_equals_at_once():
  whole = features(6)
  streamed = accumulate(iter([whole[:1], whole[1:64], whole[64:65], whole[65:]]))
  assert streamed.count == len(whole)
  np.testing.assert_allclose(streamed.mean, whole.mean(axis=0), rtol=1e-14)
  np.testing.assert_allclose(streamed.gaussian.covariance, np.cov(whole, rowvar=False), rtol=1e-9)


def test_merging_is_in_float64_for_every_precision():
  merged = merge(
    statistics(features(7).astype(np.float32)), statistics(features(8).astype(np.float16))
  )
  assert merged.mean.dtype == merged.scatter.dtype == np.float64


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_refuses_features_that_are_not_finite(broken):
  whole = features(9)
  whole[3, 2] = broken
  with pytest.raises(
    settings.InputError, match=r"^features: expected finite numbers, received 1 of 200 rows.*"
  ):
    statistics(whole)


def test_refuses_other_shapes_and_no_batches():
  for shape in ([5], [0, 5], [5, 0], [5, 4, 4]):
    with pytest.raises(
      settings.InputError, match=r"^features: expected shape \[N, D\] .* received"
    ):
      statistics(np.zeros(shape))
  with pytest.raises(
    settings.InputError, match=r"^features: expected at least one batch, received none$"
  ):
    accumulate([])
  with pytest.raises(
    settings.InputError, match=r"^features: expected at least 2 rows .* received 1$"
  ):
    _ = statistics(np.zeros([1, 5])).gaussian


def test_refuses_differing_feature_sizes():
  first, second = statistics(features(0, size=6)), statistics(features(0, size=4))
  with pytest.raises(
    settings.InputError, match=r"^features: expected 6 numbers per image, received 4$"
  ):
    merge(first, second)
  with pytest.raises(
    settings.InputError, match=r"^sample: expected 6 numbers per image, received 4$"
  ):
    frechet_distance(first.gaussian, second.gaussian)


def test_refuses_a_broken_gaussian():
  good = Gaussian(np.zeros(2), np.eye(2))
  with pytest.raises(settings.InputError, match=r"^sample: expected a finite mean and covariance"):
    frechet_distance(good, Gaussian(np.zeros(2), np.full([2, 2], np.nan)))
  with pytest.raises(
    settings.InputError, match=r"^reference: expected a covariance of shape \[2, 2\], received"
  ):
    frechet_distance(Gaussian(np.zeros(2), np.eye(3)), good)


def test_a_matrix_that_is_no_covariance():
  """A damaged file may have one, and its distance would be small."""
  good = statistics(np.random.default_rng(0).normal(size=(50, 4))).gaussian
  for factor in (-1.0, np.diag([1.0, 1, 1, -1])):
    with pytest.raises(settings.InputError, match="covariance: expected no negative eigenvalues"):
      frechet_distance(good._replace(covariance=good.covariance * factor), good)
  with pytest.raises(settings.InputError, match="reference: expected a symmetric covariance"):
    frechet_distance(good._replace(covariance=good.covariance + np.triu(np.ones((4, 4)))), good)
  # One of fewer images than features, rounded to single precision, is accepted.
  few = statistics(np.random.default_rng(0).normal(size=(30, 200))).gaussian
  rounded = few._replace(covariance=few.covariance.astype(np.float32))
  assert frechet_distance(few, rounded) == pytest.approx(0, abs=1e-3)


def test_the_extrapolated_distance_does_not_depend_on_the_number_of_samples():
  """The samples are drawn from a Gaussian at a known distance from the reference."""
  rng, size = np.random.default_rng(0), 8
  reference = Gaussian(np.zeros(size), np.eye(size))
  deviations = np.linspace(0.8, 1.2, size)
  truth = np.sum((1 - deviations) ** 2) + size * 0.1**2
  # With few samples, the jackknife's error is larger than the scatter.
  for count, most in ((80, 1.5), (200, 1.3), (800, 1.3)):
    draws = rng.normal(0.1, deviations, (100, count, size))
    limits = [extrapolated_distance(reference, draw) for draw in draws]
    distances, errors = np.transpose(limits)
    scatter = np.std(distances, ddof=1)
    assert np.mean(distances) == pytest.approx(truth, abs=4 * scatter / 10)
    # The error that is reported is that over many draws.
    assert 0.8 < np.sqrt(np.mean(np.square(errors))) / scatter < most
    biased = np.mean([frechet_distance(reference, statistics(draw).gaussian) for draw in draws])
    assert biased > truth + 4 * scatter / 10


def test_both_halves_count():
  reference = statistics(features(0, 400)).gaussian
  draws = features(1, 400)
  order = np.random.RandomState(0).permutation(len(draws))
  halves = np.array_split(draws[order], 2)
  whole, *parts = (
    frechet_distance(reference, statistics(part).gaussian) for part in (draws, *halves)
  )
  expected = 2 * whole - (parts[0] + parts[1]) / 2
  assert extrapolated_distance(reference, draws).distance == pytest.approx(expected, rel=1e-9)


def test_an_extrapolation_needs_twenty_samples():
  reference = statistics(features(0)).gaussian
  draws = features(1, 20)
  assert extrapolated_distance(reference, draws) == extrapolated_distance(reference, draws.copy())
  with pytest.raises(
    settings.InputError, match=r"sample: expected 20 images or more .* received 19"
  ):
    extrapolated_distance(reference, draws[:19])
