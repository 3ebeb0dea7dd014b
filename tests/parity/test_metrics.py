"""FID, precision, recall and Inception Score against the authors' evaluator."""

import re

import numpy as np
import pytest

from iddpm_tf.evaluation import frechet
from iddpm_tf.evaluation.inception_score import inception_score
from iddpm_tf.evaluation.precision_recall import precision_recall


def test_metrics(metrics_file):
  golden = np.load(metrics_file)
  computed = []
  for key in golden.files:
    if key == "fid":
      assert fid(golden["ref"], golden["sample"]) == pytest.approx(golden[key], rel=1e-4)
    elif match := re.fullmatch(r"(precision|recall)_k(\d+)", key):
      result = precision_recall(golden["ref"], golden["sample"], neighbours=int(match[2]))
      # The authors' distances are float16.
      assert getattr(result, match[1]) == pytest.approx(golden[key], abs=0.005)
    elif match := re.fullmatch(r"inception_score_split(\d+)", key):
      score = inception_score(golden["probs"], split_size=int(match[1]))
      assert score == pytest.approx(golden[key], rel=1e-4)
    else:
      assert key in ("config", "ref", "sample", "probs")
      continue
    computed.append(key)
  assert computed


def fid(reference, sample, batch_size=100):
  gaussians = []
  for features in (reference, sample):
    starts = range(0, len(features), batch_size)
    batches = (features[start : start + batch_size] for start in starts)
    gaussians.append(frechet.accumulate(batches).gaussian)
  return frechet.frechet_distance(*gaussians)
