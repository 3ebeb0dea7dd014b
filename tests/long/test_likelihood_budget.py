"""Does the estimate tell the full sum, and its own error? A trained model at T = 4000.

    make likelihood_budget

The full sum has one draw of the noise a term; that alone moves it by as much as the estimate's error. So it is
made sharper: the first timesteps, where nearly all of the noise is, are drawn again, and what is left is measured.
"""

import json
import pathlib
import subprocess
import sys

import numpy as np

from iddpm_tf.data import sources
from iddpm_tf.diffusion import likelihood_estimator as likelihood_budget
from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.evaluation.nll import estimate as nll_budget
from iddpm_tf.evaluation.nll import full_sum as nll
from iddpm_tf.models import model_dir
from iddpm_tf.models import trained_model
from trainers.evaluate import Options

ROOT = pathlib.Path(__file__).parents[2]
IMAGES = 100
NOISY, DRAWS = 32, 40  # Timesteps that are drawn again, and how often.
BATCH = 500
SEEDS = 20
COARSE, COARSE_SEEDS = 0.04, 120  # More of them, to count how often the stated error is kept.


def command(name, *flags):
  subprocess.run([sys.executable, "-m", f"trainers.{name}", *map(str, flags)], cwd=ROOT, check=True)


def test_the_three_figures(tmp_path, request):
  folder = pathlib.Path(request.config.getoption("model_dir") or tmp_path / "digits")
  if not folder.exists():
    command(
      "train",
      "--flagfile=configs/digits.flags",
      "--diffusion_steps=4000",
      "--train_steps=1500",
      "--save_every=500",
      "--num_samples=10",
      f"--model_dir={folder}",
    )
  config = model_dir.read_config(folder)
  assert config.diffusion.diffusion_steps == 4000
  source = sources.load(config.data, "test")
  model, process = (
    trained_model.load(folder, config, None),
    process_lib.make_process(config.diffusion),
  )
  exact, exact_stderr = full_sum(model, process, source)
  print(
    f"\nfull sum over {IMAGES} test images: {exact:.4f} bits/dim, {exact_stderr:.4f} from its own noise"
  )

  fine = estimates(model, process, source, 0.01, range(SEEDS))
  coarse = estimates(model, process, source, COARSE, range(SEEDS, SEEDS + COARSE_SEEDS))
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

  deviation = (np.mean(fine[:, 0]) - exact) / np.hypot(
    np.mean(fine[:, 1]) / np.sqrt(SEEDS), exact_stderr
  )
  print(
    f"mean of {SEEDS} seeds: {np.mean(fine[:, 0]):.4f} bits/dim, {deviation:+.2f} standard errors from the full "
    "sum"
  )
  covered = {
    name: within(rows, exact, exact_stderr) for name, rows in (("fine", fine), ("coarse", coarse))
  }
  for rows, part in ((fine, covered["fine"]), (coarse, covered["coarse"])):
    print(
      f"stated error {np.mean(rows[:, 1]):.4f}, found {np.std(rows[:, 0], ddof=1):.4f}; the interval of 95% "
      f"holds the full sum in {part:.1%} of {len(rows)} seeds"
    )
  part = np.max(fine[:, 2]) / (IMAGES * process.num_timesteps)
  print(
    f"network evaluations for 0.01 bits/dim: {np.mean(fine[:, 2]):,.0f} of {IMAGES * process.num_timesteps:,}, "
    f"at most 1/{1 / part:.0f}; so many are of all {len(source.images)} test images "
    f"1/{len(source.images) * process.num_timesteps / np.max(fine[:, 2]):.0f}"
  )
  assert abs(deviation) <= 2
  assert np.all(fine[:, 1] <= 0.01) and np.all(coarse[:, 1] <= COARSE)
  assert 0.9 <= covered["coarse"] <= 0.99 and covered["fine"] >= 0.85
  assert part <= 1 / 20


def full_sum(model, process, source):
  """Bits/dim of the first images with every timestep, and what the noise leaves uncertain of it."""
  bits = nll.bits_per_dim(model, process, source, IMAGES, Options(nll=True, batch_size=BATCH))
  again = nll_budget.evaluator(model, process, source, seed=10**6, batch_size=BATCH)
  t = np.repeat(np.arange(NOISY, dtype=np.int32), DRAWS * IMAGES)
  image = np.tile(np.arange(IMAGES, dtype=np.int32), NOISY * DRAWS)
  noisy = again(t, image, np.arange(len(t))).reshape(NOISY, DRAWS, IMAGES)
  rest = bits.terms[:, NOISY:].astype(np.float64)
  # Neighbours differ by their noise, twice, and hardly by anything else.
  variance = (
    np.sum(np.var(noisy, axis=1, ddof=1)) / DRAWS + np.sum(np.square(np.diff(rest, axis=1))) / 2
  ) / IMAGES**2
  terms = np.sum(np.mean(noisy, axis=(1, 2), dtype=np.float64)) + np.sum(np.mean(rest, axis=0))
  return np.mean(bits.prior, dtype=np.float64) + terms, np.sqrt(variance)


def estimates(model, process, source, target, seeds):
  """Rows of bits/dim, their stated standard error and the network evaluations."""
  steps, rows = process.num_timesteps, []
  prior = nll_budget.prior_mean(process, source, IMAGES, BATCH)
  # Traced once: a seed's noise begins at a key of its own.
  traced = nll_budget.evaluator(model, process, source, seed=0, batch_size=BATCH)
  for seed in seeds:
    evaluate = lambda t, image, key, first=seed * 10**8: traced(t, image, first + key)
    plan = likelihood_budget.make_plan(evaluate, steps, IMAGES, seed=seed)
    *_, estimate = likelihood_budget.estimates(
      evaluate, plan, IMAGES, target=target, limit=IMAGES * steps, seed=seed
    )
    rows.append((prior + estimate.total, estimate.stderr, estimate.evaluations))
  return np.array(rows)


def within(rows, exact, exact_stderr):
  """How often 1.96 standard errors, with the full sum's own, reach the full sum."""
  return np.mean(np.abs(rows[:, 0] - exact) <= 1.96 * np.hypot(rows[:, 1], exact_stderr))
