"""Compares the estimate, and its stated error, with the full sum of a trained model at T = 4000.

make likelihood_budget

The full sum has one draw of the noise per term, which alone moves it by as much as the error of
the estimate. Therefore it is made more exact: the first timesteps, which have nearly all of the
noise, are drawn again, and the noise that remains is measured.
"""

import json
import pathlib
import subprocess
import sys

import numpy as np

from iddpm_tf.data import sources
from iddpm_tf.diffusion import likelihood_estimator
from iddpm_tf.evaluation.nll import estimate as nll_estimate
from iddpm_tf.evaluation.nll import full_sum
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.models import trained_model
from iddpm_tf.utils import progress as progress_lib

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 4000
IMAGES = 100
NOISY, DRAWS = 32, 40  # The timesteps that are drawn again, and the number of draws.
BATCH = 500
SEEDS = 20
# A larger error with more seeds, to count how often an interval holds the full sum.
COARSE, COARSE_SEEDS = 0.04, 120


def command(name, *flags):
  """Runs a command in a process of its own."""
  subprocess.run([sys.executable, "-m", f"trainers.{name}", *map(str, flags)], cwd=ROOT, check=True)


def test_the_three_figures(tmp_path, request):
  folder = pathlib.Path(request.config.getoption("model_dir") or tmp_path / "digits")
  if not folder.exists():
    command(
      "train",
      "--flagfile=configs/digits.flags",
      f"--diffusion_steps={STEPS}",
      "--train_steps=1500",
      "--save_every=500",
      "--num_samples=10",
      f"--model_dir={folder}",
    )
  model_dir = model_dir_lib.ModelDir(folder)
  config = model_dir.require_config()
  assert config.diffusion.diffusion_steps == STEPS
  source = sources.load(config.data, "test")
  model = trained_model.load(model_dir, config)
  estimator = nll_estimate.Estimator(
    model, source.images, source.labels, count=IMAGES, batch_size=BATCH
  )
  exact, exact_stderr = exact_full_sum(model, source, estimator)
  print(
    f"\nfull sum over {IMAGES} test images: {exact:.4f} bits/dim, {exact_stderr:.4f} from its own "
    "noise"
  )
  fine = estimates(estimator, 0.01, range(SEEDS))
  coarse = estimates(estimator, COARSE, range(SEEDS, SEEDS + COARSE_SEEDS))
  command(
    "evaluate",
    f"--model_dir={folder}",
    "--nll",
    "--nll_stderr=0.01",
    f"--num_examples={IMAGES}",
    f"--output_dir={tmp_path}",
  )
  (path,) = tmp_path.glob("nll_*.json")
  np.testing.assert_allclose(json.loads(path.read_text())["bits_per_dim"], fine[0, 0], atol=1e-4)

  mean_stderr = np.mean(fine[:, 1]) / np.sqrt(SEEDS)
  deviation = (np.mean(fine[:, 0]) - exact) / np.hypot(mean_stderr, exact_stderr)
  print(
    f"mean of {SEEDS} seeds: {np.mean(fine[:, 0]):.4f} bits/dim, {deviation:+.2f} standard errors "
    "from the full sum"
  )
  fine_coverage, coarse_coverage = (coverage(rows, exact, exact_stderr) for rows in (fine, coarse))
  for rows, part in ((fine, fine_coverage), (coarse, coarse_coverage)):
    print(
      f"stated error {np.mean(rows[:, 1]):.4f}, measured {np.std(rows[:, 0], ddof=1):.4f}; the "
      f"interval of 95% holds the full sum for {part:.1%} of {len(rows)} seeds"
    )
  limit, most = IMAGES * STEPS, np.max(fine[:, 2])
  print(
    f"network evaluations for 0.01 bits/dim: {np.mean(fine[:, 2]):,.0f} of {limit:,}, at most "
    f"1/{limit / most:.0f}; this is 1/{len(source.images) * STEPS / most:.0f} of the full sum over "
    f"all {len(source.images)} test images"
  )
  assert abs(deviation) <= 2
  assert np.all(fine[:, 1] <= 0.01) and np.all(coarse[:, 1] <= COARSE)
  assert 0.9 <= coarse_coverage <= 0.99 and fine_coverage >= 0.85
  assert most / limit <= 1 / 20


def exact_full_sum(model, source, estimator):
  """Returns the mean bound with every timestep, and its standard error from the noise."""
  bits = full_sum.FullSum(model).bits_per_dim(
    source.images,
    source.labels,
    count=IMAGES,
    batch_size=BATCH,
    progress=progress_lib.Console(),
  )
  t = np.repeat(np.arange(NOISY, dtype=np.int32), DRAWS * IMAGES)
  image = np.tile(np.arange(IMAGES, dtype=np.int32), NOISY * DRAWS)
  noisy = estimator.terms(t, image, np.arange(len(t)), seed=10**6).reshape(NOISY, DRAWS, IMAGES)
  rest = bits.terms[:, NOISY:].astype(np.float64)
  # The difference of neighbouring terms is nearly all noise, that of both.
  variance = (
    np.sum(np.var(noisy, axis=1, ddof=1)) / DRAWS + np.sum(np.square(np.diff(rest, axis=1))) / 2
  ) / IMAGES**2
  terms = np.sum(np.mean(noisy, axis=(1, 2), dtype=np.float64)) + np.sum(np.mean(rest, axis=0))
  return np.mean(bits.prior, dtype=np.float64) + terms, np.sqrt(variance)


def estimates(estimator, target, seeds):
  """Returns a row of bits/dim, standard error and network evaluations for each seed."""
  rows, prior = [], estimator.prior_mean()
  for seed in seeds:

    def evaluate(t, image, key, first_key=seed * 10**8):
      return estimator.terms(t, image, first_key + key, seed=0)

    plan = likelihood_estimator.make_plan(evaluate, STEPS, IMAGES, seed=seed)
    *_, last = likelihood_estimator.estimates(
      evaluate, plan, IMAGES, target=target, limit=IMAGES * STEPS, seed=seed
    )
    rows.append((prior + last.total, last.stderr, last.evaluations))
  return np.array(rows)


def coverage(rows, exact, exact_stderr):
  """Returns how often 1.96 standard errors, with the full sum's own, reach the full sum."""
  return np.mean(np.abs(rows[:, 0] - exact) <= 1.96 * np.hypot(rows[:, 1], exact_stderr))
