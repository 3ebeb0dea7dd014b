"""Tests of the UNet against the authors': equal parameters, and equal outputs for equal weights."""

import json
import pathlib
import zlib

import keras
import numpy as np
import pytest

from iddpm_tf import networks
from iddpm_tf.interop import openai
from iddpm_tf.interop import state_dicts


def build(golden):
  """Returns the network that a golden file was made with."""
  config = json.loads(str(golden["config"]))
  kind = networks.SuperResolutionUNet if config["super_res"] else networks.UNet
  network = kind(
    base_channels=config["model_channels"],
    channel_multipliers=config["channel_mult"],
    num_res_blocks=config["num_res_blocks"],
    attention_factors=config["attention_resolutions"],
    num_heads=config["num_heads"],
    num_heads_upsample=max(0, config.get("num_heads_upsample") or 0),
    scale_shift_norm=config["use_scale_shift_norm"],
    conv_resample=config.get("conv_resample", True),
    num_classes=config["num_classes"] or 0,
    out_channels=config["out_channels"],
    **later_options(config),
  )
  low_res = {"low_res_shape": golden["low_res"].shape} if config["super_res"] else {}
  network.build(golden["x"].shape, **low_res)
  return network


def later_options(config):
  """Returns the options that only the authors' second code base has."""
  return {
    "num_head_channels": max(0, config.get("num_head_channels", 0)),
    "attention_order": "split" if config.get("use_new_attention_order") else "interleaved",
    "resblock_updown": config.get("resblock_updown", False),
    "scaled_first_conv": "resblock_updown" in config,  # Always there.
  }


def golden_weights(shapes):
  """Returns the weights of the golden networks, which follow from the names and shapes."""
  weights = {}
  for name, shape in shapes.items():
    noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    is_gain = name.endswith("weight") and len(shape) == 1
    weights[name] = (0.05 * noise + is_gain).astype(np.float32)
  return weights


def output(network, golden):
  """Returns the network's output for the inputs in a golden file, float32 [B, H, W, C]."""
  low_res = {"low_res": golden["low_res"]} if "low_res" in golden else {}
  label = golden.get("y")
  return keras.ops.convert_to_numpy(network(golden["x"], golden["t"], label, **low_res))


def test_parameters_have_the_authors_names_shapes_and_order(unet_file):
  golden = np.load(unet_file)
  network = build(golden)
  shapes = {
    name: list(entry.torch_shape) for name, entry in openai.state_dict_entries(network).items()
  }
  assert list(shapes) == golden["param_names"].tolist()
  assert shapes == json.loads(str(golden["param_shapes"]))
  assert network.count_params() == golden["param_count"]


def test_output(unet_file):
  golden = np.load(unet_file)
  network = build(golden)
  openai.load_state_dict(network, golden_weights(json.loads(str(golden["param_shapes"]))))
  np.testing.assert_allclose(output(network, golden), golden["out"], rtol=0, atol=2e-4)


def test_checkpoint_of_pytorch(torch_file):
  pytest.importorskip("torch")
  golden = np.load(pathlib.Path(torch_file).with_suffix(".npz"))
  network = build(golden)
  openai.load_state_dict(network, state_dicts.read_state_dict(torch_file))
  np.testing.assert_allclose(output(network, golden), golden["out"], rtol=0, atol=2e-4)
