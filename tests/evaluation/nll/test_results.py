"""Names and contents of the files of likelihoods."""

import dataclasses
import json

import numpy as np
from PIL import Image
import pytest

from iddpm_tf import settings
from iddpm_tf.evaluation.nll import config as nll_config
from iddpm_tf.evaluation.nll import results

CONFIG = nll_config.NllConfig(num_examples=3)


def with_settings(model, **values):
  """The model with other settings than those of its folder."""
  return dataclasses.replace(model, config=model.config.with_settings(**values))


def test_the_name_tells_evaluations_apart(model):
  assert results.file_name(model, CONFIG) == "nll_step_7_ema_0.9_test_3_seed_0"
  others = [
    results.file_name(model, dataclasses.replace(CONFIG, **change))
    for change in (
      {"split": "train"},
      {"num_examples": 4},
      {"seed": 1},
      {"nll_steps": 5},
      {"nll_steps": 5, "nll_schedule": "strided"},
      {"nll_stderr": 0.5},
    )
  ]
  others += [
    results.file_name(with_settings(model, **change), CONFIG)
    for change in (
      {"decoder": "tanh"},
      {"clip_denoised": False},
      {"variance_type": "learned"},
      {"precision": "mixed_bfloat16"},
      {"data_dir": "elsewhere"},
    )
  ]
  others += [
    results.file_name(dataclasses.replace(model, ends=model, end_steps=steps), CONFIG)
    for steps in (2, 3)
  ]
  assert len({results.file_name(model, CONFIG), *others}) == 1 + len(others)
  assert others[4] == "nll_step_7_ema_0.9_test_3_seed_0_strided_5"


def test_whether_a_download_is_allowed_is_not_in_the_name(model):
  assert results.file_name(with_settings(model, download=False), CONFIG) == results.file_name(
    model, CONFIG
  )


def test_a_result_is_a_json_file_a_plot_and_an_entry_of_the_log(model, tmp_path):
  result = {"bits_per_dim": 3.5, "stderr": 0.1} | results.describe(model, "digits", CONFIG)
  result["terms"] = [2.0, 1.0, 0.5]
  path = tmp_path / "nll.json"
  picture = results.write(path, result, np.arange(3), np.array(result["terms"]))
  assert json.loads(path.read_text()) == result
  assert Image.open(picture).size == (900, 600)
  entry = results.log_entry(path, result)
  assert entry["scores"] == {"nll": 3.5, "nll_stderr": 0.1} and entry["file"] == str(path)
  assert entry["decoder"] == "exact" and entry["training_step"] == 7 and entry["split"] == "test"
  assert not {"terms", "data_dir", "bits_per_dim"} & set(entry)


@pytest.mark.parametrize(
  "values, message",
  [
    ({"split": "validation"}, "split: expected one of test, val, train, received 'validation'"),
    ({"num_examples": -1}, "num_examples: expected a number of at least 0"),
    ({"nll_steps": -1}, "nll_steps: expected a number of at least 0"),
    ({"batch_size": 0}, "batch_size: expected a positive number"),
    ({"seed": -1}, "seed: expected a number from 0"),
    ({"nll_schedule": "strided"}, "nll_schedule: requires nll_steps"),
    ({"nll_stderr": 1e-170}, "nll_stderr: expected a number of at least 1e-06"),
    ({"nll_stderr": 0.1, "nll_steps": 5}, "nll_stderr: cannot be combined with nll_steps"),
  ],
)
def test_wrong_settings_are_refused(values, message):
  with pytest.raises(settings.InputError, match=message):
    nll_config.NllConfig(**values)
