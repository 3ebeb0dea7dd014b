"""All scores, from batches of features."""

import numpy as np
import pytest

from iddpm_tf import settings
from iddpm_tf.evaluation import frechet
from iddpm_tf.evaluation import inception_score
from iddpm_tf.evaluation import kernel_distance
from iddpm_tf.evaluation import precision_recall
from iddpm_tf.evaluation import scores
from iddpm_tf.evaluation.feature_extractors import base

RNG = np.random.default_rng(0)
ALL = scores.Selection(*[True] * 6)


def make_features(count, shift=0.0):
  """Returns random features of `count` images, whose mean is `shift`."""
  probabilities = RNG.dirichlet(np.ones(4), count)
  pool, spatial = (RNG.normal(shift, 1, (count, size)) for size in (6, 3))
  return base.Features(*(array.astype(np.float32) for array in (pool, spatial, probabilities)))


def in_batches(features, size):
  """Yields features in batches."""
  for start in range(0, len(features.pool), size):
    yield base.Features(*(array[start : start + size] for array in features))


def test_scores_of_batches_are_those_of_all_features_at_once():
  real, drawn = make_features(200), make_features(150, 0.3)
  gaussians = [frechet.statistics(part).gaussian for part in (real.pool, real.spatial)]
  reference = scores.ReferenceSummary(*gaussians, real.pool)
  for size in (150, 37):
    computed = scores.compute(ALL, scores.summarise(in_batches(drawn, size), ALL), reference)
    for name, gaussian, part in zip(("fid", "sfid"), gaussians, (drawn.pool, drawn.spatial)):
      expected = frechet.frechet_distance(gaussian, frechet.statistics(part).gaussian)
      assert computed[name] == pytest.approx(expected, rel=1e-9)
    assert computed["inception_score"] == inception_score.inception_score(drawn.probabilities)
    for k in (3, 5):
      expected = precision_recall.precision_recall(real.pool, drawn.pool, neighbours=k)
      assert (computed[f"precision_k{k}"], computed[f"recall_k{k}"]) == expected
    expected = frechet.extrapolated_distance(gaussians[0], drawn.pool)
    received = computed["fid_infinity"], computed["fid_infinity_standard_error"]
    assert received == pytest.approx(expected, rel=1e-9)
    expected = kernel_distance.kernel_distance(real.pool, drawn.pool)
    assert (computed["kid"], computed["kid_standard_error"]) == expected


def test_only_selected_scores_are_computed_and_their_features_kept():
  selection = scores.Selection.from_names(("fid",))
  summary = scores.summarise(in_batches(make_features(20), 7), selection)
  assert summary.features is None and summary.probabilities is None
  computed = scores.compute(selection, summary, scores.ReferenceSummary(summary.pool.gaussian))
  assert list(computed) == ["fid"] and computed["fid"] == pytest.approx(0, abs=1e-9)


def test_names_of_scores():
  names = ("sfid", "precision_recall", "kid")
  assert scores.Selection.from_names(names) == (False, False, True, False, True, True)
  assert not scores.Selection(inception_score=True).needs_reference
  assert scores.Selection(precision_recall=True).needs_reference
  assert scores.Selection(kid=True).needs_reference
  for names in ((), ("fid", "nll"), "fid"):
    with pytest.raises(settings.InputError, match="scores: expected names of fid, fid_inf"):
      scores.Selection.from_names(names)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", scores.Selection._fields)
def test_features_that_are_not_finite_are_refused(name, bad):
  features = make_features(20)
  for array in features:
    array[3, 1] = bad
  selection = scores.Selection(**{name: True})
  with pytest.raises(settings.InputError, match="theirs: expected finite numbers, received 1 of"):
    scores.summarise([features], selection, "theirs")


@pytest.mark.parametrize("name, part", [("sfid", "spatial"), ("inception_score", "probabilities")])
def test_an_extractor_without_the_features_of_a_score_is_refused(name, part):
  selection = scores.Selection(**{name: True})
  with pytest.raises(settings.InputError, match=f"{name}: requires a feature.*'{part}'"):
    scores.summarise([make_features(5)._replace(**{part: None})], selection)


def test_too_few_images_are_refused():
  with pytest.raises(settings.InputError, match="features: expected at least one image"):
    scores.summarise([], ALL)
  selection = scores.Selection(precision_recall=True)
  summary = scores.summarise([make_features(4)], selection)
  with pytest.raises(settings.InputError, match="sample: expected more than 5 features"):
    scores.compute(selection, summary, scores.ReferenceSummary(features=make_features(20).pool))
