"""Figure 10: FID and NLL against training compute, and power laws."""

import numpy as np

from iddpm_tf.models import model_dir
from iddpm_tf.networks import cost
from trainers.reproduction import claims
from trainers.reproduction import curves
from trainers.reproduction import sections

_PASSES = 3  # Forward and backward, in units of forward.
_GOOD = 0.9  # R^2 of a fit that counts as a line.
_SCORES = {"fid": "FID", "nll": "NLL (bits/dim)"}


def needs(scale):
  """A run of each width and seed, scored throughout."""
  return tuple(
    scale.scaling_run(width, seed) for width in scale.scaling_widths for seed in scale.seeds
  )


def frontier(compute, score):
  """The points that none of no more compute beats: both in order of compute."""
  order = np.argsort(compute)
  compute, score = compute[order], score[order]
  best = score < np.minimum.accumulate(np.append(np.inf, score[:-1]))
  return compute[best], score[best]


def power_law(runs):
  """One exponent b for all runs, and R^2, of score = a C^-b with an a for each run, by least squares of logarithms.

  Of every point of every run: were only the best for their compute taken, whatever falls or not would seem to fall.

  Args:
    runs: of each, compute and scores, float [2, N].
  """
  logs = [np.log(run) for run in runs]
  x, y = np.concatenate([run - run.mean(axis=1, keepdims=True) for run in logs], axis=1)
  slope = np.sum(x * y) / np.sum(x * x)
  return -slope, 1 - np.sum((y - slope * x) ** 2) / np.sum(y * y)


def show(scale, output):
  """Figure 10, and claim 14."""
  found = {
    (width, seed): _points(scale.scaling_run(width, seed).folder(output))
    for width in scale.scaling_widths
    for seed in scale.seeds
  }
  # {score: [(b, R^2) of each seed]}
  fits = {
    score: [
      power_law([found[width, seed][[0, i]] for width in scale.scaling_widths])
      for seed in scale.seeds
    ]
    for i, score in enumerate(_SCORES, 1)
  }

  def draw(*axes):
    for axis, (i, (score, label)) in zip(axes, enumerate(_SCORES.items(), 1)):
      for width in scale.scaling_widths:
        mean = np.mean([found[width, seed] for seed in scale.seeds], axis=0)
        axis.plot(mean[0], mean[i], marker="o", markersize=3, label=f"{width} ch")
      everything = np.mean(
        [[found[width, seed] for width in scale.scaling_widths] for seed in scale.seeds], axis=0
      )
      compute, best = frontier(*np.concatenate(everything, axis=1)[[0, i]])
      b = np.mean([b for b, _ in fits[score]])
      axis.plot(
        compute,
        np.exp(np.mean(np.log(best) + b * np.log(compute))) * compute**-b,
        "--",
        color="0.4",
        linewidth=0.8,
        label=f"C^-{b:.2f}",
      )
      axis.set(xlabel="compute (FLOPs)", ylabel=label, xscale="log", yscale="log")
      axis.legend()

  rows = tuple(
    (f"seed {seed}", *(float(value) for score in _SCORES for value in fits[score][i]))
    for i, seed in enumerate(scale.seeds)
  )
  return sections.Section(
    "Figure 10: FID and NLL against training compute",
    f"Of {scale.fid_about}: L_hybrid, cosine schedule, scored in training. Compute is three forward passes an image "
    "(iddpm_tf/networks/cost.py). The paper fits 4.00 + (2.5e-25 C)^-0.22 to FID, whose 4.00 is that of real data, and "
    "3.40 + (3e-15 C)^-0.17 to NLL, which fits less cleanly; here the constants are 0. The claim is of FID.",
    figures=(
      sections.plot(
        draw,
        "Scores by training compute, mean over the seeds; the dashed slope is the exponent of "
        "the table.",
        columns=2,
      ),
    ),
    tables=(
      sections.Table(
        ("", "FID: exponent b", "R^2", "NLL: exponent b", "R^2"),
        rows,
        "Score = a C^-b through all points of a seed, with one b and an a for each width.",
      ),
    ),
    claims=(_claim(fits["fid"]),),
  )


def _claim(fits):
  how = "FID = a C^-b through all points of a seed, with one b and an a for each width"
  exponents, goodness = zip(*fits)
  return claims.Claim(
    14,
    "FID falls as a power law of compute.",
    (
      claims.over_seeds("FID falls with compute", exponents, f"the exponent b of {how}"),
      claims.over_seeds(
        "a line fits the logarithms", np.subtract(goodness, _GOOD), f"R^2 less {_GOOD}, of {how}"
      ),
    ),
  )


def _points(folder):
  """Compute, and each score, of every evaluation: float64 [1 + scores, N]."""
  config = model_dir.read_config(folder)
  a_step = _PASSES * cost.config_cost(config).flops * config.training.batch_size
  scored = sorted(curves.scores(folder).items())
  return np.array(
    [
      [step * a_step for step, _ in scored],
      *([scores[name] for _, scores in scored] for name in _SCORES),
    ],
    np.float64,
  )
