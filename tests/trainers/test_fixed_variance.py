"""--fixed_variance: a model of L_simple with either variance, and the same weights (Figure 8)."""

import numpy as np
import pytest

from iddpm_tf.evaluation import results_log
from tests import small_model


@pytest.fixture(name="simple_dirs", scope="module")
def fixture_simple_dirs(tmp_path_factory):
  """Two model folders, by variance, with the same weights."""
  runs = tmp_path_factory.mktemp("runs")
  return {
    kind: small_model.write(
      runs / kind, small_model.make_config(objective="simple", variance_type=kind)
    )
    for kind in ("fixed_large", "fixed_small")
  }


def draw(run, folder, output, *flags):
  """Draws four images into a new folder, and returns them."""
  folders = (f"--model_dir={folder}", f"--output_dir={output}")
  result = run("sample", *folders, "--num_samples=4", "--samplers=ancestral:5", *flags)
  assert result.status == 0, result.err
  (path,) = output.glob("*.npz")
  return np.load(path)["arr_0"]


def test_images_are_those_of_the_model_with_the_other_variance(run, simple_dirs, tmp_path):
  large, small = simple_dirs["fixed_large"], simple_dirs["fixed_small"]
  changed = draw(run, large, tmp_path / "a", "--fixed_variance=fixed_small")
  np.testing.assert_array_equal(changed, draw(run, small, tmp_path / "b"))
  assert np.any(changed != draw(run, large, tmp_path / "c"))


def test_scores_depend_on_the_variance_and_say_so(run, simple_dirs):
  folder = simple_dirs["fixed_large"]
  common = (
    f"--model_dir={folder}",
    "--nll",
    "--num_examples=4",
    "--fid",
    "--num_samples=8",
    "--samplers=ancestral:5",
  )
  for flags in ((), ("--fixed_variance=fixed_small",), ("--fixed_variance=fixed_large",)):
    assert run("evaluate", *common, *flags).status == 0
  own, other, again = (results_log.read(folder)[i : i + 2] for i in (0, 2, 4))
  for before, after, repeated in zip(own, other, again):
    assert "fixed_variance" not in before and after["fixed_variance"] == "fixed_small"
    assert before["scores"] != after["scores"] and before["scores"] == repeated["scores"]
  assert own[0]["file"] != other[0]["file"]


def test_a_learned_variance_is_not_replaced(run, model_dir):
  result = run("sample", f"--model_dir={model_dir}", "--fixed_variance=fixed_small")
  assert result.status == 2
  assert "--fixed_variance: " in result.err
  assert "a model that learns its variance (learned_range)" in result.err
