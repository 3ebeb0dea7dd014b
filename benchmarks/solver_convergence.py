"""Plots the error of each solver against its evaluations of the network, on data with a solution.

    python -m benchmarks.solver_convergence --output_dir=bench

The data are a Gaussian, and a mixture of two. Their exact prediction of x_0 is a formula that takes
the place of the network, and so is the solution of the probability-flow equation: it keeps the rank
of each pixel. Writes `solver_convergence.md`, with the order of each solver, and a plot.
"""

import argparse
from collections.abc import Sequence
import pathlib

import matplotlib
import numpy as np
from scipy import optimize
from scipy import stats
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion.samplers import base
from iddpm_tf.diffusion.samplers import loop

matplotlib.use("Agg")

from matplotlib import pyplot

DEVIATION = 0.3  # Of each part of the data.
DATA = {"gaussian": (0.7,), "mixture": (-0.5, 0.7)}  # The means of the parts, of equal weight.
SAMPLERS = ("ddim", "dpmpp_2s", "dpmpp_2m", "heun")
STEPS = (11, 21, 41, 81, 161)
TIMESTEPS = 4000


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(prog="solver_convergence")
  parser.add_argument("--output_dir", type=pathlib.Path, required=True, help="folder to write to")
  options = parser.parse_args()
  options.output_dir.mkdir(parents=True, exist_ok=True)
  figure, axes = pyplot.subplots(1, len(DATA), figsize=(9, 4), sharey=True)
  lines = [
    "| sampler | data | " + " | ".join(f"error, {steps} steps" for steps in STEPS) + " | order |",
    "| --- " * (len(STEPS) + 3) + "|",
  ]
  for axis, (data, means) in zip(axes, DATA.items()):
    for name in SAMPLERS:
      errors = measure(name, means, STEPS)
      evaluations = [base.parse(f"{name}:{n}").num_evaluations(TIMESTEPS) for n in STEPS]
      order = -np.polyfit(np.log(STEPS), np.log(errors), 1)[0]
      axis.loglog(evaluations, errors, marker="o", label=f"{name}: order {order:.2f}")
      shown = " | ".join(f"{error:.1e}" for error in errors)
      lines.append(f"| `{name}` | {data} | {shown} | {order:.2f} |")
    axis.set(title=data, xlabel="evaluations of the network")
    axis.legend(fontsize=8)
  axes[0].set_ylabel("largest error of a pixel")
  figure.tight_layout()
  figure.savefig(options.output_dir / "solver_convergence.png", dpi=150)
  text = "\n".join(lines) + "\n"
  (options.output_dir / "solver_convergence.md").write_text(text)
  print(text)


def measure(name: str, means: Sequence[float], steps: Sequence[int]) -> np.ndarray:
  """Returns the largest error of nine pixels for each number of steps.

  Args:
    name: the name of a sampler.
    means: the means of the parts of the data, which have equal weights.
    steps: numbers of steps, which are evenly spaced in the log-SNR.
  """
  config = config_lib.DiffusionConfig(
    diffusion_steps=TIMESTEPS,
    objective="simple",
    variance_type="fixed_small",
    mean_type="x_start",
    rescale_timesteps=False,
  )
  whole = gaussian_diffusion.make_diffusion(config)
  model_fn = exact_x_start(means, whole.process.alphas_cumprod)
  noise = tf.constant(np.linspace(-1.7, 1.7, 9).reshape(1, 3, 3, 1), tf.float32)
  errors = []
  for count in steps:
    sampler = base.parse(f"{name}:{count}:logsnr")
    diffusion = sampler.respace(whole)
    options = loop.LoopOptions(clip=False)
    image = loop.draw(model_fn, diffusion, sampler, lambda k: noise, options).image
    expected = solution(means, noise.numpy().ravel(), diffusion.process.alphas_cumprod[-1])
    errors.append(np.max(np.abs(image.numpy().ravel() - expected)))
  return np.array(errors)


def exact_x_start(means: Sequence[float], alphas_cumprod: np.ndarray) -> gaussian_diffusion.ModelFn:
  """Returns E[x_0 | x_t] as a network that predicts x_0, and sees original timesteps."""

  def predict(x, t):
    alpha = np.sqrt(alphas_cumprod[int(t[0])])
    variance = alpha**2 * DEVIATION**2 + 1 - alpha**2
    offsets = np.array([x.astype(np.float64) - alpha * mean for mean in means])
    weights = np.exp(-0.5 * offsets**2 / variance)
    guesses = np.reshape(means, [-1, 1, 1, 1, 1]) + alpha * DEVIATION**2 / variance * offsets
    return np.sum(weights * guesses, axis=0) / np.sum(weights, axis=0)

  def model_fn(x_t, t):
    x_start = tf.numpy_function(predict, [x_t, t], tf.float64)
    return tf.ensure_shape(tf.cast(x_start, tf.float32), x_t.shape)

  return model_fn


def solution(means: Sequence[float], x: np.ndarray, alpha_cumprod: float) -> np.ndarray:
  """Returns the x_0 to which the probability-flow equation leads from x, `[N]`.

  In one dimension it keeps the share of the distribution below each point.

  Args:
    means: the means of the parts of the data.
    x: values of x_t, `[N]`.
    alpha_cumprod: alpha bar of t.
  """
  alpha, spread = np.sqrt(alpha_cumprod), np.sqrt(alpha_cumprod * DEVIATION**2 + 1 - alpha_cumprod)

  def excess(x_0, share):
    return np.mean([stats.norm.cdf(x_0, mean, DEVIATION) for mean in means]) - share

  shares = np.mean([stats.norm.cdf(x, alpha * mean, spread) for mean in means], axis=0)
  return np.array([optimize.brentq(excess, -9, 9, args=(share,), xtol=1e-13) for share in shares])


if __name__ == "__main__":
  main()
