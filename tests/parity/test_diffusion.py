"""Tables, predictions, losses, samplers and likelihoods against the authors' numbers.

The authors approximate the Gaussian CDF of the decoder term and clamp it. With `decoder="tanh"` all
numbers agree to 1e-4. With the exact CDF, terms of t = 0 agree to 1% where the exact value is below
20 bits/dim.
"""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.config import DiffusionConfig
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion import likelihood
from iddpm_tf.diffusion import losses
from iddpm_tf.diffusion import respacing
from iddpm_tf.diffusion import timestep_sampling
from iddpm_tf.diffusion.samplers import ancestral
from iddpm_tf.diffusion.samplers import base
from iddpm_tf.diffusion.samplers import ddim
from iddpm_tf.diffusion.samplers import loop

DECODERS = ("exact", "tanh")
MEANS = ("eps", "x_start", "x_prev")
VARIANCES = ("fixed_small", "fixed_large", "learned", "learned_range")


@functools.lru_cache
def load(path):
  with np.load(path) as arrays:
    golden = dict(arrays)
  golden["config"] = json.loads(str(golden["config"]))
  return golden


def make_diffusion(golden, **settings):
  """Returns the diffusion that a golden file was made with."""
  config = DiffusionConfig(
    diffusion_steps=golden["config"]["diffusion_steps"],
    noise_schedule=golden["config"]["noise_schedule"],
    rescale_timesteps=golden["config"]["rescale_timesteps"],
    **settings,
  )
  timesteps = respacing.space_timesteps(
    config.diffusion_steps, golden["config"]["timestep_respacing"]
  )
  return gaussian_diffusion.make_diffusion(config).respaced(timesteps)


def make_network(config):
  """Returns the formula that the golden files have in place of a network."""

  def model_fn(x, t):
    t = t[:, None, None, None]
    mean = 0.3 * x + 0.1 * tf.sin(t / 100)
    if not config.learns_variance:
      return mean
    return tf.concat([mean, 0.2 * tf.tanh(x) + 0.05 * tf.cos(t / 50)], axis=-1)

  return model_fn


def objective_settings(loss, variance):
  """Returns the settings of one of the authors' four losses."""
  if loss.endswith("kl"):
    return {"objective": "vlb"}
  return {"objective": "simple" if variance.startswith("fixed") else "hybrid"}


def assert_close(ours, golden, **tolerance):
  np.testing.assert_allclose(ours, golden, **({"rtol": 1e-4, "atol": 1e-4} | tolerance))


def assert_close_terms(ours, golden, t, decoder):
  """Compares terms of the bound, or losses that contain them."""
  ours, golden = np.asarray(ours), np.asarray(golden)
  approximated = np.broadcast_to((t == 0) & (decoder == "exact"), golden.shape)
  assert np.all(np.isfinite(ours))
  assert_close(ours[~approximated], golden[~approximated])
  exact = approximated & (ours < 20)
  assert_close(ours[exact], golden[exact], rtol=1e-2, atol=0)


def test_space_timesteps(space_timesteps_file):
  for key, expected in json.loads(space_timesteps_file.read_text()).items():
    steps, spacing = key.split(":")
    np.testing.assert_array_equal(respacing.space_timesteps(int(steps), spacing), expected, key)


def test_tables(diffusion_file):
  golden = load(diffusion_file)
  process = make_diffusion(golden).process
  np.testing.assert_array_equal(process.timestep_map, golden["timestep_map"])
  tables = [key for key in golden if key.startswith("table/")]
  assert tables
  for key in tables:
    assert_close(getattr(process, key.removeprefix("table/")), golden[key], rtol=1e-9, atol=0)


def test_q_sample_and_prior(diffusion_file):
  golden = load(diffusion_file)
  process = make_diffusion(golden).process
  x_t = process.q_sample(golden["x_start"], golden["t"], golden["noise"])
  assert_close(x_t, golden["x_t"])
  assert_close(losses.prior_term(process, golden["x_start"]), golden["prior_bpd"], atol=1e-6)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("mean", MEANS)
def test_predictions_and_terms(diffusion_file, mean, variance):
  golden = load(diffusion_file)
  t, x_t = golden["t"], golden["x_t"]
  settings = {
    "mean_type": mean,
    "variance_type": variance,
    "objective": "simple" if variance.startswith("fixed") else "hybrid",
  }
  diffusion = make_diffusion(golden, **settings)
  network_t = diffusion.process.network_timesteps(t)
  output = make_network(diffusion.config)(tf.constant(x_t), network_t)
  for clip in (0, 1):
    prediction = diffusion.predict(output, x_t, t, clip=bool(clip))
    prefix = f"{mean}/{variance}/p_"
    log_variance = tf.broadcast_to(prediction.log_variance, x_t.shape)
    assert_close(prediction.mean, golden[f"{prefix}mean/clip{clip}"])
    assert_close(log_variance, golden[f"{prefix}log_variance/clip{clip}"])
    assert_close(prediction.x_start, golden[f"{prefix}pred_xstart/clip{clip}"])
  for decoder in DECODERS:
    diffusion = make_diffusion(golden, decoder=decoder, **settings)
    term = losses.vlb_term(diffusion, prediction, x_start=golden["x_start"], x_t=x_t, t=t)
    assert_close_terms(term, golden[f"{mean}/{variance}/vb_bpd"], t, decoder)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("loss", ("mse", "rescaled_mse", "kl", "rescaled_kl"))
@pytest.mark.parametrize("decoder", DECODERS)
def test_losses(diffusion_file, mean, variance, loss, decoder):
  golden = load(diffusion_file)
  settings = {"decoder": decoder} | objective_settings(loss, variance)
  if loss in ("mse", "kl") and settings["objective"] != "simple":
    settings["vlb_weight"] = 1 / make_diffusion(golden).num_timesteps
  diffusion = make_diffusion(golden, mean_type=mean, variance_type=variance, **settings)
  t, x_t = golden["t"], tf.constant(golden["x_t"])
  ours = losses.training_losses(
    diffusion,
    make_network(diffusion.config)(x_t, diffusion.process.network_timesteps(t)),
    x_start=golden["x_start"],
    x_t=x_t,
    t=t,
    noise=golden["noise"],
  )
  prefix = f"{mean}/{variance}/{loss}/"
  assert_close_terms(ours.loss, golden[f"{prefix}loss"], t, decoder)
  if f"{prefix}mse" in golden:
    assert_close(ours.mse, golden[f"{prefix}mse"], atol=1e-6)
  if f"{prefix}vb" in golden:
    assert_close_terms(ours.vlb, golden[f"{prefix}vb"], t, decoder)


def test_sampler_steps(diffusion_file):
  golden = load(diffusion_file)
  diffusion = make_diffusion(golden)
  t, x_t = golden["t"], tf.constant(golden["x_t"])
  output = make_network(diffusion.config)(x_t, diffusion.process.network_timesteps(t))
  prediction = diffusion.predict(output, x_t, t, clip=True)
  has_noise = (t != 0)[:, None, None, None]
  noise = golden["p_sample/noise"] * has_noise
  x_prev = ancestral.Ancestral().step(diffusion, prediction, x_t, t, noise)
  assert_close(x_prev, golden["p_sample"])
  noise = golden["ddim_sample/noise"] * has_noise
  for eta in (0, 1):
    x_prev = ddim.DDIM(eta=float(eta)).step(diffusion, prediction, x_t, t, noise)
    assert_close(x_prev, golden[f"ddim_sample/eta{eta}"])
  assert_close(ddim.reverse_step(diffusion, prediction, x_t, t), golden["ddim_reverse"])


@pytest.mark.parametrize("name", ("ancestral", "ddim"))
def test_sampling_loops(loop_file, name):
  golden = load(loop_file)
  diffusion = make_diffusion(golden)
  network = make_network(diffusion.config)
  noise = tf.constant(golden["loop/ddpm/noise"])
  draw = tf.function(
    lambda: loop.draw(network, diffusion, base.parse(name), lambda k: tf.gather(noise, k)).image,
    autograph=False,
  )
  assert_close(draw(), golden["loop/ddpm" if name == "ancestral" else "loop/ddim"])


@pytest.mark.parametrize("decoder", DECODERS)
def test_likelihood(likelihood_file, decoder):
  golden = load(likelihood_file)
  diffusion = make_diffusion(golden, decoder=decoder)
  network, x_start = make_network(diffusion.config), tf.constant(golden["x_start"])
  noise = tf.constant(golden["bpd/noise"])
  ours = tf.function(
    lambda: likelihood.bits_per_dim(network, diffusion, x_start, lambda k: tf.gather(noise, k)),
    autograph=False,
  )()
  # The authors' columns begin at the last timestep.
  t = np.arange(diffusion.num_timesteps)[::-1]
  assert_close_terms(ours.terms[:, ::-1], golden["bpd/vb"], t, decoder)
  assert_close(ours.x_start_mse[:, ::-1], golden["bpd/xstart_mse"])
  assert_close(ours.eps_mse[:, ::-1], golden["bpd/mse"])
  if decoder == "tanh":
    assert_close(ours.total, golden["bpd/total_bpd"])


def test_loss_second_moment(loss_second_moment_file):
  with np.load(loss_second_moment_file) as golden:
    t, loss, expected = golden["t"].astype(np.int32), golden["loss"], golden["p"]
  sampler = timestep_sampling.LossSecondMomentSampler(expected.shape[1])
  for i, probabilities in enumerate(expected):
    sampler.update(tf.constant(t[i]), tf.constant(loss[i]))
    assert_close(sampler.probabilities(), probabilities, atol=1e-6)
