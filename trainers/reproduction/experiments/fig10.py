"""Figure 10: scores against training compute, and power laws."""

import numpy as np

from iddpm_tf.networks import cost
from trainers import model_dir
from trainers.reproduction import claims
from trainers.reproduction import curves
from trainers.reproduction import sections

_PASSES = 3  # Forward and backward, in units of forward.
_GOOD = 0.9  # R^2 of a fit that counts as a line.


def needs(scale):
  """A run of each width and seed, scored throughout."""
  return tuple(scale.scaling_run(width, seed) for width in scale.scaling_widths for seed in scale.seeds)


def frontier(compute, fid):
  """The points that none of no more compute beats: both in order of compute."""
  order = np.argsort(compute)
  compute, fid = compute[order], fid[order]
  best = fid < np.minimum.accumulate(np.append(np.inf, fid[:-1]))
  return compute[best], fid[best]


def power_law(compute, fid):
  """Exponent b and R^2 of FID = a C^-b, by least squares of logarithms."""
  x, y = np.log(compute), np.log(fid)
  slope, intercept = np.polyfit(x, y, 1)
  return -slope, 1 - np.sum((y - slope * x - intercept) ** 2) / np.sum((y - y.mean()) ** 2)


def show(scale, output):
  """Figure 10, and claim 14."""
  found = {(width, seed): _points(scale.scaling_run(width, seed).folder(output))
           for width in scale.scaling_widths for seed in scale.seeds}
  first = scale.seeds[0]

  def draw(axis):
    for width in scale.scaling_widths:
      axis.plot(*found[width, first], marker="o", markersize=3, label=f"{width} ch")
    axis.set(xlabel="compute (FLOPs)", ylabel="FID", xscale="log", yscale="log")
    axis.legend()

  fits = [power_law(*frontier(*np.concatenate([found[width, seed] for width in scale.scaling_widths], axis=1)))
          for seed in scale.seeds]
  exponents, goodness = map(np.array, zip(*fits))
  rows = tuple((f"seed {seed}", float(exponent), float(good)) for seed, (exponent, good) in zip(scale.seeds, fits))
  how = "FID = a C^-b through the best points for their compute, of all widths of a seed"
  return sections.Section(
      "Figure 10: FID against training compute",
      f"Of {scale.fid_about}: L_hybrid, cosine schedule, scored in training. Compute is three forward passes an image "
      "(iddpm_tf/networks/cost.py). The paper fits 4.00 + (2.5e-25 C)^-0.22 on ImageNet-64, whose 4.00 is the FID of "
      "real data; here the constant is 0.",
      figures=(sections.plot(draw, f"FID by training compute, seed {first}."),),
      tables=(sections.Table(("", "exponent b", "R^2"), rows, how + "."),),
      claims=(claims.Claim(14, "FID falls as a power law of compute.", (
          claims.over_seeds("FID falls with compute", exponents, f"the exponent b of {how}"),
          claims.over_seeds("a line fits the logarithms", goodness - _GOOD, f"R^2 less {_GOOD}, of {how}"))),))


def _points(folder):
  """Compute and FID of each evaluation: float64 [2, N]."""
  config = model_dir.read_config(folder)
  a_step = _PASSES * cost.of_config(config).flops * config.training.batch_size
  scored = sorted(curves.scores(folder).items())
  return np.array([[step * a_step for step, _ in scored], [scores["fid"] for _, scores in scored]], np.float64)
