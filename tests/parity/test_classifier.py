"""Tests of the noisy classifier against the authors': parameters, logits and gradients."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import networks
from iddpm_tf.interop import openai
from iddpm_tf.interop import state_dicts
from tests.parity import test_unet


def build(golden):
  """Returns the classifier that a golden file was made with."""
  config = json.loads(str(golden["config"]))
  network = networks.NoisyClassifier(
    base_channels=config["model_channels"],
    channel_multipliers=config["channel_mult"],
    num_res_blocks=config["num_res_blocks"],
    attention_factors=config["attention_resolutions"],
    num_heads=config.get("num_heads", 1),
    scale_shift_norm=config.get("use_scale_shift_norm", False),
    conv_resample=config.get("conv_resample", True),
    num_classes=config["out_channels"],
    pool=config.get("pool", "adaptive"),
    **test_unet.later_options(config),
  )
  network.build(golden["x"].shape)
  return network


def assert_same_numbers(network, golden):
  x, label = tf.constant(golden["x"]), tf.constant(golden["y"])
  with tf.GradientTape() as tape:
    tape.watch(x)
    logits = network(x, golden["t"])
    log_prob = tf.reduce_sum(tf.gather(tf.nn.log_softmax(logits), label, axis=1, batch_dims=1))
  np.testing.assert_allclose(logits, golden["logits"], rtol=0, atol=2e-4)
  largest = np.abs(golden["grad"]).max()
  np.testing.assert_allclose(
    tape.gradient(log_prob, x), golden["grad"], rtol=0, atol=1e-3 * largest
  )


def test_parameters_have_the_authors_names_shapes_and_order(classifier_file):
  golden = np.load(classifier_file)
  network = build(golden)
  shapes = {
    name: list(entry.torch_shape) for name, entry in openai.state_dict_entries(network).items()
  }
  assert list(shapes) == golden["param_names"].tolist()
  assert shapes == json.loads(str(golden["param_shapes"]))
  assert network.count_params() == golden["param_count"]


def test_logits_and_gradients(classifier_file):
  golden = np.load(classifier_file)
  network = build(golden)
  weights = test_unet.golden_weights(json.loads(str(golden["param_shapes"])))
  openai.load_state_dict(network, weights)
  assert_same_numbers(network, golden)


def test_checkpoint_of_pytorch(classifier_torch_file):
  pytest.importorskip("torch")
  golden = np.load(pathlib.Path(classifier_torch_file).with_suffix(".npz"))
  network = build(golden)
  openai.load_state_dict(network, state_dicts.read_state_dict(classifier_torch_file))
  assert_same_numbers(network, golden)
