"""All scores of a stream of features."""

import numpy as np
import pytest

from iddpm_tf.evaluation import frechet
from iddpm_tf.evaluation import inception_score
from iddpm_tf.evaluation import precision_recall
from iddpm_tf.evaluation import scores
from iddpm_tf.evaluation.features import Features

RNG = np.random.default_rng(0)
ALL = scores.Wanted(True, True, True, True)


def features_of(count, shift=0.0):
  probabilities = RNG.dirichlet(np.ones(4), count)
  pool, spatial = (RNG.normal(shift, 1, (count, size)) for size in (6, 3))
  return Features(*(array.astype(np.float32) for array in (pool, spatial, probabilities)))


def in_batches(features, size):
  for start in range(0, len(features.pool), size):
    yield Features(*(array[start : start + size] for array in features))


def test_scores_are_those_of_all_features_at_once_however_they_come():
  real, drawn = features_of(200), features_of(150, 0.3)
  gaussians = {
    name: frechet.statistics(getattr(real, name)).gaussian for name in ("pool", "spatial")
  }
  for size in (150, 37):
    found = scores.sample_scores(
      ALL, scores.summarise(in_batches(drawn, size), ALL), **gaussians, features=real.pool
    )
    assert found["fid"] == pytest.approx(
      frechet.frechet_distance(gaussians["pool"], frechet.statistics(drawn.pool).gaussian), rel=1e-9
    )
    assert found["sfid"] == pytest.approx(
      frechet.frechet_distance(gaussians["spatial"], frechet.statistics(drawn.spatial).gaussian),
      rel=1e-9,
    )
    assert found["inception_score"] == inception_score.inception_score(drawn.probabilities)
    for k in (3, 5):
      expected = precision_recall.precision_recall(real.pool, drawn.pool, neighbours=k)
      assert (found[f"precision_k{k}"], found[f"recall_k{k}"]) == expected


def test_only_what_is_wanted_is_computed_and_kept():
  wanted = scores.Wanted(fid=True)
  summary = scores.summarise(in_batches(features_of(20), 7), wanted)
  assert summary.count == 20 and summary.features is None and summary.probabilities is None
  found = scores.sample_scores(wanted, summary, pool=summary.pool.gaussian)
  assert list(found) == ["fid"] and found["fid"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", scores.Wanted._fields)
def test_features_that_are_not_finite(name, bad):
  features = features_of(20)
  for array in features:
    array[3, 1] = bad
  wanted = scores.Wanted(**{name: True})
  with pytest.raises(ValueError, match="theirs: expected finite numbers, received 1 of"):
    scores.summarise([features], wanted, "theirs")


@pytest.mark.parametrize("name, part", [("sfid", "spatial"), ("inception_score", "probabilities")])
def test_an_extractor_without_what_a_score_needs(name, part):
  wanted = scores.Wanted(**{name: True})
  with pytest.raises(ValueError, match=f"--{name}: .*'{part}'"):
    scores.summarise([features_of(5)._replace(**{part: None})], wanted)


def test_no_images_and_too_few():
  with pytest.raises(ValueError, match="at least one image"):
    scores.summarise([], ALL)
  wanted = scores.Wanted(precision_recall=True)
  with pytest.raises(ValueError, match="sample: expected more than 5 features"):
    scores.sample_scores(
      wanted, scores.summarise([features_of(4)], wanted), features=features_of(20).pool
    )
