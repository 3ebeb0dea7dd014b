"""Likelihoods that several processes evaluate together: those of one process, bit for bit."""

import concurrent.futures
import json

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.evaluation import results_log
from iddpm_tf.evaluation.nll import config as nll_config
from iddpm_tf.evaluation.nll import estimate
from iddpm_tf.evaluation.nll import evaluation
from iddpm_tf.evaluation.nll import full_sum
from iddpm_tf.utils import cluster
from iddpm_tf.utils import progress as progress_lib
from iddpm_tf.utils import shared_batches

SILENT = progress_lib.Silent()


def workers(number, count=3):
  return cluster.Cluster(("a:1", "b:1", "c:1")[:count], number, "test")


def test_the_full_sum_is_that_of_one_process(model, evaluator, monkeypatch, tmp_path):
  monkeypatch.setattr(full_sum, "FullSum", lambda *_: evaluator)
  config = nll_config.NllConfig(num_examples=10, batch_size=4)

  def evaluate(folder, workers=None):
    return evaluation.NllEvaluation(
      model, config, output_dir=folder, workers=workers, progress=SILENT
    ).run()

  alone, together = tmp_path / "alone", tmp_path / "together"
  expected = evaluate(alone)
  assert [evaluate(together, workers(number)) for number in (1, 2, 0)] == [None, None, expected]
  assert len(expected["bits_per_dim_of_images"]) == 10
  for folder in (alone, together):
    (path,) = folder.glob("*.json")
    assert json.loads(path.read_text()) == expected
    assert len(results_log.read(folder)) == 1
  names = [sorted(path.name for path in folder.iterdir()) for folder in (alone, together)]
  assert names[0] == names[1]  # Nothing else is left.


def test_a_worker_that_is_too_late_says_so(model, evaluator, monkeypatch, tmp_path, recorder):
  monkeypatch.setattr(full_sum, "FullSum", lambda *_: evaluator)
  late = evaluation.NllEvaluation(
    model,
    nll_config.NllConfig(num_examples=8, batch_size=4),
    output_dir=tmp_path,
    workers=workers(1),
    progress=recorder,
  )

  def finished(*_, **__):
    raise shared_batches.ChiefFinished("the chief has finished without worker 1")

  monkeypatch.setattr(shared_batches.SharedBatches, "share", finished)
  assert late.run() is None
  assert recorder.lines[-1] == "note: the chief has finished without worker 1"
  assert list(tmp_path.glob("*.json")) == []


@pytest.fixture(name="make_estimator")
def fixture_make_estimator(model, test_split):
  """Returns an estimator whose terms depend on their timesteps and noise, without a network."""

  def make(shared=None):
    estimator = estimate.Estimator(
      model, test_split.images, test_split.labels, count=40, batch_size=16, shared=shared
    )
    evaluated = []

    def terms(images, labels, t, seeds):
      del images, labels
      evaluated.append(len(t))
      noise = np.random.default_rng(seeds.tolist()).standard_normal(len(t))
      return tf.constant((np.exp(-t / 5) + 0.01 * noise).astype(np.float32))

    estimator._function = terms
    return estimator, evaluated

  return make


def test_an_estimate_is_that_of_one_process(make_estimator, tmp_path, monkeypatch):
  monkeypatch.setattr(shared_batches, "_POLL_SECONDS", 0.01)
  alone, evaluated = make_estimator()
  expected = alone.estimate(0.003, seed=5, progress=SILENT)

  def evaluate(number):
    batches = shared_batches.SharedBatches(tmp_path, "key", workers(number, 2), progress=SILENT)
    estimator, evaluated = make_estimator(batches)
    return estimator.estimate(0.003, seed=5, progress=SILENT), evaluated

  with concurrent.futures.ThreadPoolExecutor() as threads:
    both = [threads.submit(evaluate, number) for number in (0, 1)]
    results = [each.result(timeout=60) for each in both]
  for result, _ in results:
    assert (result.bits_per_dim, result.stderr) == (expected.bits_per_dim, expected.stderr)
    np.testing.assert_array_equal(result.terms.means, expected.terms.means)
  assert sorted(results[0][1] + results[1][1]) == sorted(evaluated)
  assert all(part for _, part in results)
