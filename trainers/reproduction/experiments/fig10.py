"""Figure 10: FID and NLL against training compute, and power laws."""

from collections.abc import Sequence
import pathlib
from typing import NamedTuple

import matplotlib.axes
import numpy as np

from iddpm_tf.models import model_dir
from trainers.reproduction import claims
from trainers.reproduction import curves
from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import shared_tasks
from trainers.reproduction import tasks
from trainers.reproduction.experiments import base

_PASSES = 3  # The cost of a forward and a backward pass, in forward passes.
_MIN_R_SQUARED = 0.9  # The logarithms lie on a line if R^2 of the fit is above this.
# FID is that of infinitely many samples: what few samples add to it would bend a power law.
_SCORES = {"fid_infinity": "FID", "nll": "NLL (bits/dim)"}
_COLUMNS = ("b within the widths", "b of the frontier", "its points", "its R^2")


@experiments.EXPERIMENTS.register("fig10")
class Figure10(base.Experiment):
  """Scores of networks of several widths, by the compute of their training."""

  title = "Figure 10: FID and NLL against training compute"
  claims = (14,)

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns a training for each width and seed."""
    return [training(scale, width, seed) for width in scale.scaling.widths for seed in scale.seeds]

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns the scores by compute, the fits of power laws, and claim 14."""
    widths, seeds = scale.scaling.widths, scale.seeds
    points = {
      (width, seed): _points(training(scale, width, seed).folder(output))
      for width in widths
      for seed in seeds
    }
    # {score: compute and scores of each width, by seed}
    curves_of_seeds = {
      score: [[points[width, seed][score] for width in widths] for seed in seeds]
      for score in _SCORES
    }
    fits = {
      score: [
        (decrease(of_widths), *power_law(of_widths))
        if _has_logarithms(of_widths)
        else [None] * len(_COLUMNS)
        for of_widths in of_seeds
      ]
      for score, of_seeds in curves_of_seeds.items()
    }

    def draw(*axes: matplotlib.axes.Axes) -> None:
      for axis, (score, label) in zip(axes, _SCORES.items()):
        of_widths = np.mean(curves_of_seeds[score], axis=0)
        for width, curve in zip(widths, of_widths):
          axis.plot(*curve, marker="o", markersize=3, label=f"{width} ch")
        if _has_logarithms(of_widths):
          compute, best = frontier(*np.concatenate(of_widths, axis=1))
          b = power_law(of_widths).exponent
          fit = np.exp(np.mean(np.log(best) + b * np.log(compute))) * compute**-b
          axis.plot(compute, fit, "--", color="0.4", linewidth=0.8, label=f"C^{-b:.2f}")
        axis.set(xlabel="compute (FLOPs)", ylabel=label, xscale="log", yscale="log")
        axis.legend()

    rows = tuple(
      (f"seed {seed}", *(value for score in _SCORES for value in fits[score][i]))
      for i, seed in enumerate(seeds)
    )
    return sections.Section(
      f"Scores on {_models(scale).data} during training with L_hybrid and the cosine schedule. "
      "Compute is the cost of three forward passes for each image (iddpm_tf/networks/cost.py). The "
      "paper fits 4.00 + (2.5e-25 C)^-0.22 to FID, where 4.00 is the FID of real data, and 3.40 + "
      "(3e-15 C)^-0.17 to NLL, where the fit is less clean. Here the additive constants are 0. The "
      "claim is judged by FID, which is extrapolated to infinitely many samples (Chong & Forsyth, "
      "2020).",
      figures=(
        sections.plot(
          draw,
          "Scores by training compute, averaged over the seeds. The dashed lines are fitted to the "
          "frontiers of these averages.",
          columns=2,
        ),
      ),
      tables=(
        sections.Table(
          ("", *(f"{name}: {text}" for name in ("FID", "NLL") for text in _COLUMNS)),
          rows,
          "Each b is that of score = a C^-b. Within the widths, each width has its own a. The "
          "frontier of a seed, over all widths, has one a.",
        ),
      ),
      claims=(judge(curves_of_seeds["fid_infinity"]),),
    )


def training(scale: scales.Scale, width: int, seed: int) -> tasks.TrainingTask:
  """Returns the training of a network of `width` channels, which is evaluated throughout.

  The learning rate is proportional to 1 / sqrt(width) (Section 6).
  """
  models = _models(scale)
  features = (flag.replace("--features=", "--eval_features=") for flag in models.fid_flags)
  return shared_tasks.evaluated_in_training(
    scale,
    models.training(scales.COSINE_HYBRID, seed),
    f"{width}_channels_fid_infinity",
    (*width_flags(scale, width), "--eval_scores=fid_infinity,nll", *features),
    train_steps=scale.scaling.train_steps,
    evaluations=scale.scaling.evaluations,
  )


def width_flags(scale: scales.Scale, width: int) -> tuple[str, ...]:
  """Returns the flags of a network of `width` channels."""
  rate = scale.scaling.learning_rate / np.sqrt(width / scale.scaling.widths[0])
  return f"--base_channels={width}", f"--learning_rate={rate:.6g}"


def _models(scale: scales.Scale) -> scales.Models:
  """Returns the models whose scores are shown.

  At the small scale, these are those of photographs: FID of the digits soon comes so near to 0 that
  its estimates have no logarithm.
  """
  return scale.fid_models if scale.has_paper_models else scale.likelihood_models


def frontier(compute: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the Pareto frontier of score against compute, in the order of compute.

  A point belongs to it if no point of at most its compute has a score as low.

  Args:
    compute: the compute of each point, float `[N]`.
    score: the score of each point, float `[N]`; lower is better.
  """
  order = np.lexsort((score, compute))
  compute, score = compute[order], score[order]
  best = score < np.minimum.accumulate(np.append(np.inf, score[:-1]))
  return compute[best], score[best]


class PowerLaw(NamedTuple):
  """A fit of score = a C^-b to a frontier.

  Attributes:
    exponent: b; 0 for a single point.
    points: the points of the frontier.
    r_squared: R^2 of the fit, or None with fewer than three points, which always lie on a line.
  """

  exponent: float
  points: int
  r_squared: float | None


def power_law(curves_of_widths: Sequence[np.ndarray]) -> PowerLaw:
  """Fits score = a C^-b to the frontier of all widths by least squares of the logarithms.

  Args:
    curves_of_widths: compute and scores of each network, float `[2, N]`.
  """
  compute, best = frontier(*np.concatenate(curves_of_widths, axis=1))
  x, y = (values - values.mean() for values in (np.log(compute), np.log(best)))
  slope = float(np.sum(x * y) / np.sum(x * x)) if len(x) > 1 else 0.0
  rest = float(np.sum((y - slope * x) ** 2))
  return PowerLaw(-slope, len(x), 1 - rest / float(np.sum(y * y)) if len(x) > 2 else None)


def _has_logarithms(curves_of_widths: Sequence[np.ndarray]) -> bool:
  """Whether all scores are positive. FID of infinitely many samples can be estimated below 0."""
  return all(np.all(curve > 0) for curve in curves_of_widths)


def decrease(curves_of_widths: Sequence[np.ndarray]) -> float:
  """Fits score = a C^-b to all points, with one b, and with one a per network.

  The frontier falls with compute for any scores; this exponent does not.

  Args:
    curves_of_widths: compute and scores of each network, float `[2, N]`.

  Returns:
    The exponent b.
  """
  logs = [np.log(curve) for curve in curves_of_widths]
  x, y = np.concatenate([curve - curve.mean(axis=1, keepdims=True) for curve in logs], axis=1)
  return -float(np.sum(x * y) / np.sum(x * x))


def judge(curves_of_seeds: Sequence[Sequence[np.ndarray]]) -> claims.Claim:
  """Judges claim 14 by compute and FID, float `[2, N]`, of each network of each seed.

  The networks of a seed are in the order of their widths.
  """
  statement = "FID falls as one power law of compute, across network sizes."
  if not all(map(_has_logarithms, curves_of_seeds)):
    reason = "the logarithm of FID; unknown, because an estimate of FID is not positive"
    return claims.Claim(14, statement, (claims.unknown("FID falls with compute", reason),))
  r_squared = [power_law(of_widths).r_squared for of_widths in curves_of_seeds]
  on_a_line = "one power law fits the frontier of all network sizes"
  how = f"R^2 minus {_MIN_R_SQUARED}, of FID = a C^-b fitted to the frontier of all sizes"
  known = [value for value in r_squared if value is not None]
  if len(known) < len(r_squared):
    line = claims.unknown(
      on_a_line, f"{how}; unknown, because a frontier has fewer than three points"
    )
  else:
    line = claims.over_seeds(on_a_line, np.subtract(known, _MIN_R_SQUARED), how)
  ends = [np.log(narrowest[1, -1] / widest[1, -1]) for narrowest, *_, widest in curves_of_seeds]
  return claims.Claim(
    14,
    statement,
    (
      claims.over_seeds(
        "FID falls with compute",
        [decrease(of_widths) for of_widths in curves_of_seeds],
        "the exponent b of FID = a C^-b fitted to all points of a seed, with one a per width",
      ),
      claims.over_seeds(
        "the largest network reaches a lower FID than the smallest",
        ends,
        "the logarithm of the smallest network's last FID over the largest one's",
      ),
      line,
    ),
  )


def _points(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Returns compute and a score of every evaluation in a training: `{score: float64 [2, N]}`."""
  from iddpm_tf.networks import cost

  config = model_dir.ModelDir(folder).require_config()
  flops_per_step = _PASSES * cost.config_cost(config).flops * config.training.batch_size
  by_step = sorted(curves.scores(folder).items())
  return {
    name: np.array([(step * flops_per_step, scores[name]) for step, scores in by_step]).T
    for name in _SCORES
  }
