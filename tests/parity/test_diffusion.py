"""Tables, predictions, losses, samplers and likelihoods against the authors' numbers.

The authors approximate the Gaussian CDF of the decoder term and clamp it. With `decoder="tanh"` everything is
held to 1e-4; with the exact CDF, rows of t = 0 are held to 1% where the exact value is under 20 bits/dim.
"""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.diffusion import likelihood
from iddpm_tf.diffusion import losses
from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.diffusion import respacing
from iddpm_tf.diffusion import reverse
from iddpm_tf.diffusion import samplers
from iddpm_tf.diffusion import timestep_sampling

DECODERS = ("exact", "tanh")
MEANS = ("eps", "x_start", "x_prev")
VARIANCES = ("fixed_small", "fixed_large", "learned", "learned_range")


@functools.lru_cache
def load(path):
  with np.load(path) as arrays:
    golden = dict(arrays)
  golden["config"] = json.loads(str(golden["config"]))
  return golden


def make(golden, **settings):
  """The file's process, and a `DiffusionConfig`."""
  config = config_lib.DiffusionConfig(
    diffusion_steps=golden["config"]["diffusion_steps"],
    noise_schedule=golden["config"]["noise_schedule"],
    rescale_timesteps=golden["config"]["rescale_timesteps"],
    **settings,
  )
  process = process_lib.make_process(config)
  return process_lib.respace(process, golden["config"]["timestep_respacing"]), config


def network(config):
  """The golden files' formula in place of a network."""

  def denoise_fn(x, t):
    t = t[:, None, None, None]
    mean = 0.3 * x + 0.1 * tf.sin(t / 100)
    if not config.learns_variance:
      return mean
    return tf.concat([mean, 0.2 * tf.tanh(x) + 0.05 * tf.cos(t / 50)], axis=-1)

  return denoise_fn


def settings_of(loss, variance):
  """The authors' four losses in this project's terms."""
  if loss.endswith("kl"):
    return {"objective": "vlb"}
  return {"objective": "simple" if variance.startswith("fixed") else "hybrid"}


def close(ours, golden, **tolerance):
  np.testing.assert_allclose(ours, golden, **({"rtol": 1e-4, "atol": 1e-4} | tolerance))


def close_terms(ours, golden, t, decoder):
  """Terms of the bound, or losses that contain them."""
  ours, golden = np.asarray(ours), np.asarray(golden)
  decoder = np.broadcast_to((t == 0) & (decoder == "exact"), golden.shape)
  assert np.all(np.isfinite(ours))
  close(ours[~decoder], golden[~decoder])
  exact = decoder & (ours < 20)
  close(ours[exact], golden[exact], rtol=1e-2, atol=0)


def test_space_timesteps(space_timesteps_file):
  for key, expected in json.loads(space_timesteps_file.read_text()).items():
    steps, spacing = key.split(":")
    np.testing.assert_array_equal(respacing.space_timesteps(int(steps), spacing), expected, key)


def test_tables(diffusion_file):
  golden = load(diffusion_file)
  process, _ = make(golden)
  np.testing.assert_array_equal(process.timestep_map, golden["timestep_map"])
  tables = [key for key in golden if key.startswith("table/")]
  assert tables
  for key in tables:
    close(getattr(process, key.removeprefix("table/")), golden[key], rtol=1e-9, atol=0)


def test_q_sample_and_prior(diffusion_file):
  golden = load(diffusion_file)
  process, _ = make(golden)
  close(process.q_sample(golden["x_start"], golden["t"], golden["noise"]), golden["x_t"])
  close(losses.prior_term(process, golden["x_start"]), golden["prior_bpd"], atol=1e-6)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("mean", MEANS)
def test_predictions_and_losses(diffusion_file, mean, variance):
  golden = load(diffusion_file)
  t, x_t = golden["t"], golden["x_t"]
  objective = "simple" if variance.startswith("fixed") else "hybrid"
  process, config = make(golden, mean_type=mean, variance_type=variance, objective=objective)
  output = network(config)(tf.constant(x_t), process.network_timesteps(t))
  for clip in (0, 1):
    p = reverse.predict(process, config, output, x_t, t, clip=bool(clip))
    prefix = f"{mean}/{variance}/p_"
    close(p.mean, golden[f"{prefix}mean/clip{clip}"])
    close(tf.broadcast_to(p.log_variance, x_t.shape), golden[f"{prefix}log_variance/clip{clip}"])
    close(p.x_start, golden[f"{prefix}pred_xstart/clip{clip}"])
  for decoder in DECODERS:
    _, config = make(
      golden, mean_type=mean, variance_type=variance, objective=objective, decoder=decoder
    )
    term = losses.vlb_term(process, config, p, x_start=golden["x_start"], x_t=x_t, t=t)
    close_terms(term, golden[f"{mean}/{variance}/vb_bpd"], t, decoder)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("loss", ("mse", "rescaled_mse", "kl", "rescaled_kl"))
@pytest.mark.parametrize("decoder", DECODERS)
def test_losses(diffusion_file, mean, variance, loss, decoder):
  golden = load(diffusion_file)
  settings = {"decoder": decoder} | settings_of(loss, variance)
  process, _ = make(golden)
  if loss in ("mse", "kl") and settings["objective"] != "simple":
    settings["vlb_weight"] = 1 / process.num_timesteps
  process, config = make(golden, mean_type=mean, variance_type=variance, **settings)
  t, x_t = golden["t"], tf.constant(golden["x_t"])
  ours = losses.training_losses(
    process,
    config,
    network(config)(x_t, process.network_timesteps(t)),
    x_start=golden["x_start"],
    x_t=x_t,
    t=t,
    noise=golden["noise"],
  )
  prefix = f"{mean}/{variance}/{loss}/"
  close_terms(ours.loss, golden[f"{prefix}loss"], t, decoder)
  if f"{prefix}mse" in golden:
    close(ours.mse, golden[f"{prefix}mse"], atol=1e-6)
  if f"{prefix}vb" in golden:
    close_terms(ours.vlb, golden[f"{prefix}vb"], t, decoder)


def test_sampler_steps(diffusion_file):
  golden = load(diffusion_file)
  process, config = make(golden)
  t, x_t = golden["t"], tf.constant(golden["x_t"])
  output = network(config)(x_t, process.network_timesteps(t))
  p = reverse.predict(process, config, output, x_t, t, clip=True)
  moving = (t != 0)[:, None, None, None]
  close(samplers.ancestral_step(p, golden["p_sample/noise"] * moving), golden["p_sample"])
  for eta in (0, 1):
    ours = samplers.ddim_step(
      process, p.x_start, x_t, t, eta=float(eta), noise=golden["ddim_sample/noise"] * moving
    )
    close(ours, golden[f"ddim_sample/eta{eta}"])
  close(samplers.ddim_reverse_step(process, p.x_start, x_t, t), golden["ddim_reverse"])


@pytest.mark.parametrize("name", ("ancestral", "ddim"))
def test_sampling_loops(loop_file, name):
  golden = load(loop_file)
  process, config = make(golden)
  noise = tf.constant(golden["loop/ddpm/noise"])
  spec = samplers.SamplerSpec.parse(name)
  draw = tf.function(
    lambda: samplers.draw(network(config), process, config, spec, lambda k: tf.gather(noise, k))
  )
  close(draw().image, golden["loop/ddpm" if name == "ancestral" else "loop/ddim"])


@pytest.mark.parametrize("decoder", DECODERS)
def test_likelihood(likelihood_file, decoder):
  golden = load(likelihood_file)
  process, config = make(golden, decoder=decoder)
  noise = tf.constant(golden["bpd/noise"])
  ours = tf.function(
    lambda: likelihood.bits_per_dim(
      network(config),
      process,
      config,
      tf.constant(golden["x_start"]),
      lambda k: tf.gather(noise, k),
    )
  )()
  # The authors' columns start at the last timestep.
  t = np.arange(process.num_timesteps)[::-1]
  close_terms(ours.terms[:, ::-1], golden["bpd/vb"], t, decoder)
  close(ours.x_start_mse[:, ::-1], golden["bpd/xstart_mse"])
  close(ours.eps_mse[:, ::-1], golden["bpd/mse"])
  if decoder == "tanh":
    close(ours.total, golden["bpd/total_bpd"])


def test_loss_second_moment(loss_second_moment_file):
  with np.load(loss_second_moment_file) as golden:
    t, loss, expected = golden["t"].astype(np.int32), golden["loss"], golden["p"]
  sampler = timestep_sampling.LossSecondMomentSampler(expected.shape[1])
  for i, p in enumerate(expected):
    sampler.update(tf.constant(t[i]), tf.constant(loss[i]))
    close(sampler.probabilities(), p, atol=1e-6)
