"""Precision and recall against brute force and at their limits."""

import numpy as np
import pytest

from iddpm_tf import settings
from iddpm_tf.evaluation import precision_recall as module
from iddpm_tf.evaluation.precision_recall import precision_recall
from iddpm_tf.evaluation.precision_recall import precision_recalls


def features(seed, count, scale=1.0):
  return scale * np.random.default_rng(seed).normal(size=[count, 4])


def brute_force_inside(points, members, neighbours):
  """Returns the fraction of points inside the manifold, by Eq. 1 of the paper as it is written."""
  inside = 0
  for point in points:
    inside += any(
      np.linalg.norm(point - member)
      <= sorted(np.linalg.norm(other - member) for other in members)[neighbours]
      for member in members
    )
  return inside / len(points)


@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_agrees_with_brute_force(neighbours):
  reference, sample = features(0, 40), features(1, 30) + 1.0
  result = precision_recall(reference, sample, neighbours=neighbours)
  assert result.precision == brute_force_inside(sample, reference, neighbours)
  assert result.recall == brute_force_inside(reference, sample, neighbours)
  assert 0 < result.precision < 1 and 0 < result.recall < 1


def test_blocks_change_nothing(monkeypatch):
  reference, sample = features(2, 300), features(3, 200)
  whole = precision_recall(reference, sample)
  monkeypatch.setattr(module, "BLOCK_MIB", 0.01)  # Four rows of 300 distances.
  assert precision_recall(reference, sample) == whole


def test_a_set_has_precision_and_recall_1_with_itself():
  assert precision_recall(features(4, 100), features(4, 100)) == (1, 1)


def test_repeated_images_are_within_their_own_balls_of_radius_0():
  repeated = np.repeat(features(5, 20, scale=0.3) + 77.7, 5, axis=0)
  assert precision_recall(repeated, repeated[::-1], neighbours=3) == (1, 1)


def test_far_sets_have_precision_and_recall_0():
  assert precision_recall(features(6, 50), features(7, 60) + 1e4) == (0, 0)


def test_one_mode_of_two_is_precise_and_recalls_half():
  near, far = features(8, 50), features(9, 50) + 1e4
  assert precision_recall(np.concatenate([near, far]), near) == (1, 0.5)


def test_is_the_same_about_another_origin():
  reference, sample = features(10, 60), features(11, 60)
  assert precision_recall(reference + 1e6, sample + 1e6) == precision_recall(reference, sample)


def test_refuses_fewer_features_than_neighbours():
  message = "^{}: expected more than 5 features for 5 neighbours, received 5$"
  with pytest.raises(settings.InputError, match=message.format("sample")):
    precision_recall(features(0, 6), features(0, 5), neighbours=5)
  with pytest.raises(settings.InputError, match=message.format("reference")):
    precision_recall(features(0, 5), features(0, 6), neighbours=5)
  assert precision_recall(features(0, 6), features(0, 6), neighbours=5) == (1, 1)


def test_refuses_what_cannot_be_compared():
  good = features(0, 10)
  with pytest.raises(
    settings.InputError, match=r"^sample: expected 4 numbers per image, .* received 3$"
  ):
    precision_recall(good, good[:, :3])
  with pytest.raises(
    settings.InputError, match=r"^sample: expected finite numbers, received 10 of 10 rows"
  ):
    precision_recall(good, good * np.nan)
  with pytest.raises(
    settings.InputError, match=r"^neighbours: expected a number of at least 1, received 0$"
  ):
    precision_recall(good, good, neighbours=0)


def test_several_numbers_of_neighbours_are_as_each_alone():
  rng = np.random.default_rng(0)
  reference, sample = rng.normal(size=(120, 4)), rng.normal(0.5, 1, size=(90, 4))
  computed = precision_recalls(reference, sample, (5, 1, 3))
  assert computed == [precision_recall(reference, sample, neighbours=k) for k in (5, 1, 3)]


def test_features_of_single_precision_keep_it_and_copies_are_inside():
  rng = np.random.default_rng(0)
  features = (1e3 + rng.normal(size=(80, 5))).astype(np.float32)
  repeated = np.concatenate([features[:6]] * 5)
  for neighbours in (1, 3):
    assert precision_recall(features, features, neighbours=neighbours) == (1, 1)
    # Balls of radius 0 about what is there more than k times.
    assert precision_recall(repeated, features[:6].repeat(5, axis=0), neighbours=neighbours) == (
      1,
      1,
    )
  double = precision_recall(features.astype(np.float64), features[::2] + np.float32(0.1))
  assert precision_recall(features, features[::2] + np.float32(0.1)) == double
