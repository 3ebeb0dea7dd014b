"""Sampling that a classifier guides, against the authors' numbers."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.diffusion import guidance
from iddpm_tf.diffusion.samplers import ancestral
from iddpm_tf.diffusion.samplers import base
from iddpm_tf.diffusion.samplers import ddim
from iddpm_tf.diffusion.samplers import loop
from tests.parity import test_diffusion
from tests.parity.test_diffusion import make_diffusion
from tests.parity.test_diffusion import make_network


def gradient(x, t):
  """Returns the formula that the golden files have in place of a classifier's gradient."""
  return 0.4 * tf.cos(x) - 0.1 * x + 0.05 * tf.sin(t / 80)[:, None, None, None]


def assert_close(ours, golden, alphas_cumprod):
  """Compares images: to 1e-3 where almost nothing is left of x_0, otherwise to 1e-4."""
  faint = np.broadcast_to(np.min(alphas_cumprod) < 1e-8, golden.shape[:1])
  if np.shape(alphas_cumprod) == golden.shape[:1]:
    faint = alphas_cumprod < 1e-8
  for chosen, tolerance in ((~faint, 1e-4), (faint, 1e-3)):
    np.testing.assert_allclose(
      np.asarray(ours)[chosen], golden[chosen], rtol=tolerance, atol=tolerance
    )


def test_guided_steps(guided_file):
  golden = test_diffusion.load(guided_file)
  diffusion = make_diffusion(golden)
  process, t, x_t = diffusion.process, golden["t"], tf.constant(golden["x_t"])
  network_t = process.network_timesteps(t)
  output = make_network(diffusion.config)(x_t, network_t)
  prediction = diffusion.predict(output, x_t, t, clip=True)
  noise = golden["noise"] * (t != 0)[:, None, None, None]
  alphas_cumprod = process.alphas_cumprod[t]
  guided = guidance.shift_mean(diffusion, prediction, gradient(x_t, network_t), x_t, t)
  x_prev = ancestral.Ancestral().step(diffusion, guided, x_t, t, noise)
  assert_close(x_prev, golden["p_sample"], alphas_cumprod)
  guided = guidance.shift_score(diffusion, prediction, gradient(x_t, network_t), x_t, t)
  for eta in (0, 1):
    x_prev = ddim.DDIM(eta=float(eta)).step(diffusion, guided, x_t, t, noise)
    expected = golden[f"ddim_sample/eta{eta}"]
    eps = process.eps_from_x_start(x_t, t, guided.x_start).numpy()
    rounding = np.abs(eps) * rounding_of_direction(process, t, eta)[:, None, None, None]
    assert_close(x_prev - np.clip(x_prev - expected, -rounding, rounding), expected, alphas_cumprod)


def rounding_of_direction(process, t, eta):
  """Returns the error of the authors' sqrt(1 - alpha_prev - sigma^2) that float32 explains, `[B]`.

  They subtract in float32. At t = 1 of 4000, all of the numbers but 1e-5 cancel, and pixels that
  were clipped, whose eps is in the hundreds, show it. Here the factor is a table made in float64.
  """
  previous = process.alphas_cumprod_prev[t]
  radicand = 1 - previous - eta**2 * process.posterior_variance[t]
  error = 2.0**-24 * (1 + eta)  # Half a unit in the last place of numbers near 1, each time.
  return np.where(
    t > 0, np.sqrt(np.maximum(radicand, 0) + error) - np.sqrt(np.maximum(radicand, 0)), 0
  )


@pytest.mark.parametrize("name", ("ancestral", "ddim"))
def test_guided_loops(guided_loop_file, name):
  golden = test_diffusion.load(guided_loop_file)
  diffusion = make_diffusion(golden)
  network, noise = make_network(diffusion.config), tf.constant(golden["loop/noise"])
  options = loop.LoopOptions(classifier_gradient=gradient)
  draw = tf.function(
    lambda: (
      loop.draw(network, diffusion, base.parse(name), lambda k: tf.gather(noise, k), options).image
    ),
    autograph=False,
  )
  expected = golden["loop/ddpm" if name == "ancestral" else "loop/ddim"]
  assert_close(draw(), expected, diffusion.process.alphas_cumprod)
