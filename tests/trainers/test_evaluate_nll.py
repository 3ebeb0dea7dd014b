"""`trainers.evaluate --nll`, the full sum and its estimate: what is printed and written."""

import json
import re

import numpy as np
from PIL import Image
import pytest

import iddpm_tf as iddpm
from iddpm_tf.evaluation import results_log


@pytest.fixture(name="evaluate")
def fixture_evaluate(run, model_dir, tmp_path):
  """Returns `evaluate(*flags)`, which returns what was printed and the content of the JSON file."""

  def evaluate(*flags):
    folders = (f"--model_dir={model_dir}", f"--output_dir={tmp_path}")
    result = run("evaluate", *folders, "--nll", *flags)
    assert result.status == 0, result.err
    (path,) = tmp_path.glob("*.json")
    assert Image.open(path.with_suffix(".png")).size == (900, 600)
    assert f"wrote {path} and {path.with_suffix('.png')}" in result.out
    return result.out, json.loads(path.read_text())

  return evaluate


def test_the_full_sum_is_printed_and_written(evaluate, tmp_path):
  out, result = evaluate("--num_examples=3", "--nll_steps=5", "--decoder=tanh", "--batch_size=2")
  mean, stderr = result["bits_per_dim"], result["stderr"]
  totals = result["bits_per_dim_of_images"]
  assert len(totals) == 3 and mean == pytest.approx(np.mean(totals), rel=1e-6)
  assert f"{mean:.4f} bits/dim, standard error {stderr:.4f}" in out
  assert ": 3 test images of digits, 9 timesteps, seed 0, iddpm_tf" in out
  assert result["timesteps"] == [0, 1, 2, 3, 4, 6, 12, 18, 24] and len(result["terms"]) == 9
  assert mean == pytest.approx(result["prior"] + np.sum(result["terms"]), rel=1e-5)
  (line,) = results_log.read(tmp_path)
  assert line["scores"] == {"nll": mean, "nll_stderr": stderr} and line["decoder"] == "tanh"
  assert line["file"].endswith("nll_step_10_ema_0.9_test_3_seed_0_dense_start_5_tanh.json")


def test_the_estimate_says_what_it_is_of(evaluate):
  out, result = evaluate("--num_examples=100", "--nll_stderr=0.1", "--seed=3")
  stderr, evaluations = result["stderr_of_estimate"], result["network_evaluations"]
  assert "stderr" not in result  # This is the full sum's name for the error over images.
  assert result["stderr_target"] == 0.1 and result["seed"] == 3 and result["num_timesteps"] == 25
  mean = f"{result['bits_per_dim']:.4f} bits/dim, standard error of the estimate {stderr:.4f} "
  assert mean + f"({evaluations:,} of 2,500 network evaluations" in out
  assert "these 100 images" in out
  rows = result["strata"]
  sizes = np.subtract(rows["last_timestep"], rows["first_timestep"]) + 1
  assert np.sum(sizes) == 25
  expected = result["prior"] + np.dot(sizes, rows["mean_term"])
  np.testing.assert_allclose(result["bits_per_dim"], expected, rtol=1e-12)
  variances = np.square(sizes * np.array(rows["standard_deviation"])) / rows["network_evaluations"]
  np.testing.assert_allclose(stderr, np.sqrt(np.sum(variances)), rtol=1e-12)
  pilot = result["network_evaluations_of_pilot"]
  assert evaluations == pilot + sum(rows["network_evaluations"])


def test_an_estimate_stops_at_the_full_sum(evaluate):
  out, result = evaluate("--num_examples=100", "--nll_stderr=1e-6")
  note = r"note: stopped .* 2,500; a standard error of 1e-06 would take about [\d,]{9,}\n"
  assert re.search(note, out)
  assert 2500 <= result["network_evaluations"] <= 2500 + 25
  assert result["network_evaluations_of_full_sum"] == 2500


def test_a_note_says_that_few_terms_are_better_summed(evaluate):
  out, result = evaluate("--num_examples=3", "--nll_stderr=0.5")
  assert "note: the full sum takes 75 network evaluations" in out
  assert result["network_evaluations"] > 75


def test_images_of_ones_own_are_evaluated(evaluate, model_dir, tmp_path):
  images, labels = np.full([3, 8, 8, 1], 128, np.uint8), [1, 0, 1]
  np.savez(tmp_path / "own.npz", images, labels)
  folder = tmp_path / "own"
  for index, (image, label) in enumerate(zip(images, labels)):
    (folder / str(label)).mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[..., 0]).save(folder / f"{label}/{index}.png")
  model = iddpm.load(model_dir, progress=False)
  for path, order in ((tmp_path / "own.npz", [0, 1, 2]), (folder, [1, 0, 2])):
    out, result = evaluate(f"--samples={path}", "--nll_steps=5")
    assert f": 3 images of {path}, 9 timesteps" in out
    assert (result["dataset"], result["split"], result["num_examples"]) == (str(path), None, 3)
    expected = model.nll(images[order], np.array(labels)[order], steps=5, progress=False)
    np.testing.assert_allclose(result["bits_per_dim_of_images"], expected.bits_per_dim, rtol=1e-6)
    for file in tmp_path.glob("nll_*"):
      file.unlink()
