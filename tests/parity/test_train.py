"""Training steps against the authors': losses, gradient norms, and outputs of the trained weights.

With the authors' approximation of the decoder term, everything is compared. With the exact CDF, the
losses of t > 0 are compared. The trained outputs are not, because the terms of t = 0 have other
gradients then (two of the 96 examples move the variance's outputs by 8e-3).
"""

import json
import zlib

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.interop import openai
from iddpm_tf.networks.stateless import call_network
from iddpm_tf.training import state as state_lib
from iddpm_tf.training import train_step


def golden_weights(network):
  """Returns the weights of the golden files by the authors' names."""
  weights = {}
  for name, value in openai.to_state_dict(network).items():
    rng = np.random.RandomState(zlib.crc32(name.encode()))
    offset = 1.0 if name.endswith("weight") and value.ndim == 1 else 0.0
    weights[name] = (0.05 * rng.standard_normal(value.shape) + offset).astype(np.float32)
  return weights


def make_state(golden, decoder):
  """Returns the state that a golden file begins with."""
  config = json.loads(str(golden["config"]))
  height, width, channels = golden["x_start"].shape[2:]
  state = state_lib.TrainState(
    config_lib.Config(
      network=config_lib.NetworkConfig(
        base_channels=config["model_channels"],
        channel_multipliers=tuple(config["channel_mult"]),
        num_res_blocks=config["num_res_blocks"],
        num_heads=config["num_heads"],
        attention_resolutions=tuple(height // factor for factor in config["attention_resolutions"]),
        scale_shift_norm=config["use_scale_shift_norm"],
        class_conditional=config["num_classes"] is not None,
      ),
      diffusion=config_lib.DiffusionConfig(
        diffusion_steps=config["diffusion_steps"],
        noise_schedule=config["schedule"],
        decoder=decoder,
        **_objective(config),
      ),
      data=config_lib.DataConfig(
        image_shape=(height, width, channels), num_classes=config["num_classes"] or 0
      ),
      training=config_lib.TrainingConfig(learning_rate=config["lr"], ema=_rates(golden)),
    )
  )
  openai.load_state_dict(state.network, golden_weights(state.network))
  state.begin_at_network()
  return state


def _rates(golden):
  prefix = "probe/ema_"
  return tuple(float(key.removeprefix(prefix)) for key in golden if key.startswith(prefix))


def _objective(config):
  steps = config["diffusion_steps"]
  return {
    "rescaled_mse": {"objective": "hybrid"},
    "mse": {"objective": "hybrid", "vlb_weight": 1 / steps},
    "rescaled_kl": {"objective": "vlb"},
    "kl": {"objective": "vlb", "vlb_weight": 1 / steps},
  }[config["loss"]]


@pytest.mark.parametrize("decoder", ("exact", "tanh"))
def test_training_steps(train_file, decoder):
  with np.load(train_file) as arrays:
    golden = dict(arrays)
  state = make_state(golden, decoder)

  @tf.function(autograph=False)
  def step(x_start, t, noise):
    losses, gradient = train_step.loss_and_gradients(
      state,
      {"image": x_start, "label": golden.get("y", tf.zeros_like(t))},
      t,
      tf.ones_like(t, tf.float32),
      noise,
      None,
    )
    loss = tf.reduce_mean(losses.loss)
    return losses, train_step.apply_gradient(state, gradient, loss).grad_norm

  for i, (x_start, t, noise) in enumerate(zip(golden["x_start"], golden["t"], golden["noise"])):
    losses, grad_norm = step(x_start, t, noise)
    same = (t > 0) | (decoder == "tanh")
    for ours, key in ((losses.loss, "loss"), (losses.mse, "mse"), (losses.vlb, "vb")):
      if f"terms/{key}" in golden:
        np.testing.assert_allclose(ours.numpy()[same], golden[f"terms/{key}"][i][same], rtol=1e-3)
    if np.all(same):
      np.testing.assert_allclose(grad_norm, golden["grad_norm"][i], rtol=1e-3)
  if decoder == "tanh":
    assert_same_outputs(state, golden, train_file.name)


def assert_same_outputs(state, golden, name):
  """Compares the outputs of the trained weights and of their averages."""

  def probe(weights):
    return call_network(
      state.network, golden["x_start"][0], golden["probe/t_scaled"], weights=weights
    )

  difference = np.abs(probe(state.weights.read()) - golden["probe/model"]).max()
  print(f"{name}: the trained networks' outputs differ by {difference:.1e} at most")
  assert difference < 5e-3
  for rate in state.averages.rates:
    ours = probe(state.averages.at_rate(rate).read())
    np.testing.assert_allclose(ours, golden[f"probe/ema_{rate:g}"], atol=5e-3, rtol=0)
