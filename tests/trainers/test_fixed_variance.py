"""--fixed_variance: a model of L_simple with either variance, from the same weights (Figure 8)."""

import numpy as np
import pytest

from iddpm_tf.evaluation import results_log as results
from tests.trainers.conftest import SMALL
from trainers import train
from trainers.cli import command


@pytest.fixture(name="simple_dirs", scope="module")
def fixture_simple_dirs(tmp_path_factory):
  """Two folders of one training, but for the variance."""
  folders = {
    kind: tmp_path_factory.mktemp("runs") / kind for kind in ("fixed_large", "fixed_small")
  }
  for kind, folder in folders.items():
    assert (
      command.run(
        train.main,
        train.Options,
        "",
        [
          "train",
          *SMALL,
          f"--model_dir={folder}",
          "--train_steps=5",
          "--objective=simple",
          f"--variance_type={kind}",
        ],
      )
      == 0
    )
  return folders


def images(run, folder, output, *flags):
  assert (
    run(
      "sample",
      f"--model_dir={folder}",
      f"--output_dir={output}",
      "--num_samples=4",
      "--samplers=ancestral:5",
      *flags,
    ).status
    == 0
  )
  (path,) = output.glob("*.npz")
  return np.load(path)["arr_0"]


def test_it_is_the_model_that_was_trained_with_the_other(run, simple_dirs, tmp_path):
  large, small = simple_dirs["fixed_large"], simple_dirs["fixed_small"]
  overridden = images(run, large, tmp_path / "a", "--fixed_variance=fixed_small")
  np.testing.assert_array_equal(overridden, images(run, small, tmp_path / "b"))
  assert np.any(overridden != images(run, large, tmp_path / "c"))


def test_scores_are_of_the_variance_and_stamped(run, simple_dirs):
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
  own, other, again = (results.read(folder)[i : i + 2] for i in (0, 2, 4))
  for before, after, repeated in zip(own, other, again):
    assert "fixed_variance" not in before and after["fixed_variance"] == "fixed_small"
    assert before["scores"] != after["scores"] and before["scores"] == repeated["scores"]
  assert own[0]["file"] != other[0]["file"]


def test_a_learned_variance_is_not_replaced(run, model_dir):
  result = run("sample", f"--model_dir={model_dir}", "--fixed_variance=fixed_small")
  assert result.status == 2
  assert (
    "--fixed_variance: expected nothing with a model that learns its variance (learned_range)"
    in result.err
  )
