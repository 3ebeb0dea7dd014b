"""`evaluate --nll --nll_stderr`: the full sum from a part of its terms, and what is said of it."""

import json
import re

import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from iddpm_tf.data import images as images_lib
from iddpm_tf.data import sources
from iddpm_tf.diffusion import likelihood
from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.diffusion import samplers
from iddpm_tf.evaluation.nll import estimate as nll_budget
from iddpm_tf.evaluation.nll import full_sum as nll
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.models import trained_model
from trainers.evaluate import Options


@pytest.fixture(name="estimate")
def fixture_estimate(run, model_dir, tmp_path):
  """estimate(folder's name, *flags) -> what was printed, and the JSON file."""

  def estimate(name, *flags):
    result = run(
      "evaluate", f"--model_dir={model_dir}", f"--output_dir={tmp_path / name}", "--nll", *flags
    )
    assert result.status == 0, result.err
    (path,) = (tmp_path / name).glob("*.json")
    assert Image.open(path.with_suffix(".png")).size == (900, 600)
    return result.out, json.loads(path.read_text())

  return estimate


@pytest.fixture(name="loaded", scope="module")
def fixture_loaded(model_dir):
  """The model, the process and the data."""
  config = model_dir_lib.read_config(model_dir)
  return (
    trained_model.load(model_dir, config, None),
    process_lib.make_process(config.diffusion),
    sources.load(config.data, "test"),
  )


def full_sum(loaded, images, draws):
  """Bits/dim of the first images, and its standard error from the noise, of so many full sums."""
  totals = np.array(
    [
      nll.bits_per_dim(*loaded, images, Options(nll=True, seed=seed)).total for seed in range(draws)
    ],
    np.float64,
  )  # [draws, images]
  return np.mean(totals), np.sqrt(np.sum(np.var(totals, axis=0, ddof=1)) / draws) / images


def test_it_tells_the_full_sum_within_its_error(estimate, loaded):
  out, result = estimate("a", "--num_examples=100", "--nll_stderr=0.05")
  exact, exact_stderr = full_sum(loaded, 100, 3)
  stderr = result["stderr_of_estimate"]
  assert 0 < stderr <= 0.05 and exact_stderr < 0.05
  assert abs(result["bits_per_dim"] - exact) <= 3.5 * np.hypot(stderr, exact_stderr)
  evaluations = result["network_evaluations"]
  assert result["network_evaluations_of_full_sum"] == 2500
  assert (
    f"{result['bits_per_dim']:.4f} bits/dim, standard error of the estimate {stderr:.4f} " in out
  )
  assert f"({evaluations:,} of 2,500 network evaluations" in out and "these 100 images" in out


def test_the_result_says_what_it_is_of(estimate):
  _, result = estimate("a", "--num_examples=100", "--nll_stderr=0.1", "--seed=3")
  assert "stderr" not in result  # The full sum's name for the error over images.
  assert result["stderr_target"] == 0.1 and result["seed"] == 3 and result["num_timesteps"] == 25
  rows = result["strata"]
  sizes = np.subtract(rows["last_timestep"], rows["first_timestep"]) + 1
  assert np.sum(sizes) == 25
  np.testing.assert_allclose(
    result["bits_per_dim"], result["prior"] + np.dot(sizes, rows["mean_term"]), rtol=1e-12
  )
  variance = np.sum(
    np.square(sizes * np.array(rows["standard_deviation"])) / rows["network_evaluations"]
  )
  np.testing.assert_allclose(result["stderr_of_estimate"], np.sqrt(variance), rtol=1e-12)
  assert result["network_evaluations"] == (
    result["network_evaluations_of_pilot"] + sum(rows["network_evaluations"])
  )


def test_it_is_a_function_of_the_seed_whatever_the_batch(estimate):
  flags = ("--num_examples=100", "--nll_stderr=0.1")
  _, first = estimate("a", *flags)
  _, same = estimate("b", *flags, "--batch_size=33")
  _, other = estimate("c", *flags, "--seed=1")
  np.testing.assert_allclose(same["bits_per_dim"], first["bits_per_dim"], rtol=1e-4)
  assert abs(other["bits_per_dim"] - first["bits_per_dim"]) > 1e-3


def test_an_evaluation_s_noise_is_its_key_s_and_its_seed_s(loaded):
  t, image = np.full(4, 3, np.int32), np.array([5, 5, 5, 6], np.int32)
  keys = np.array([0, 0, 1, 0])
  first = nll_budget.evaluator(*loaded, seed=1, batch_size=2)(t, image, keys)
  other = nll_budget.evaluator(*loaded, seed=2, batch_size=4)(t, image, keys)
  np.testing.assert_allclose(first[0], first[1], rtol=1e-5)
  distinct = np.concatenate([first[1:], other[1:]])
  assert np.min(np.abs(np.diff(np.sort(distinct)))) > 1e-4 * np.max(distinct)


def test_the_full_sum_s_work_is_the_most(estimate):
  out, result = estimate("a", "--num_examples=100", "--nll_stderr=1e-6")
  assert re.search(
    r"note: stopped .* 2,500; a standard error of 1e-06 would take about [\d,]{9,}\n", out
  )
  assert 2500 <= result["network_evaluations"] <= 2500 + 25
  assert result["stderr_of_estimate"] > 1e-6


def test_few_images_and_timesteps_are_better_summed(estimate):
  out, result = estimate("a", "--num_examples=3", "--nll_stderr=0.5")
  assert "note: the full sum takes 75 network evaluations" in out
  assert result["network_evaluations"] > 75


def test_a_term_is_that_of_the_image_with_its_own_label(loaded):
  model, process, source = loaded
  evaluate = nll_budget.evaluator(model, process, source, seed=5, batch_size=4)
  t, image = np.array([0, 3, 9, 24, 3, 0], np.int32), np.array([7, 2, 5, 1, 9, 3], np.int32)
  key = np.arange(6, dtype=np.int64)
  assert len(set(source.labels[image])) > 2
  found = evaluate(t, image, key)
  noise = samplers.seeded_noise(tf.constant(key + (5 << 32)), (8, 8, 1), nll_budget._STREAM)(0)
  x_start = images_lib.to_unit_range(tf.constant(source.images[image]))
  for labels, close in ((source.labels[image], True), ((source.labels[image] + 1) % 10, False)):
    expected = likelihood.evaluate(
      model.denoise_fn(x_start, tf.constant(labels)),
      process,
      model.config.diffusion,
      x_start,
      tf.constant(t),
      noise,
    ).term
    assert np.allclose(found, expected, rtol=1e-4) == close
