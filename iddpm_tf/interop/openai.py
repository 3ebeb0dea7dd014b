"""Weights under the names and in the layouts of the paper authors' PyTorch code (improved-diffusion).

A state dict maps names such as `input_blocks.1.0.in_layers.0.weight` to NumPy arrays.
"""

import collections.abc
import typing

import keras
import numpy as np

from iddpm_tf import settings
from iddpm_tf.networks import blocks
from iddpm_tf.networks import layers


class Entry(typing.NamedTuple):
  """Where a parameter of the authors' state dict lives here."""

  variable: keras.Variable
  to_torch: collections.abc.Callable  # From our layout to theirs.
  from_torch: collections.abc.Callable  # And back.

  @property
  def torch_shape(self):
    return self.to_torch(np.empty(self.variable.shape, np.bool_)).shape


def state_dict_entries(network):
  """The authors' name of each weight of a built `UNet`, in their order, to its `Entry`."""
  entries = {**_dense("time_embed.0", network.time_in), **_dense("time_embed.2", network.time_out)}
  if network.num_classes:
    entries["label_emb.weight"] = _vector(network.label_embedding.embeddings)
  for i, block in enumerate(network.input_blocks):
    entries |= _block(f"input_blocks.{i}", block)
  entries |= _block("middle_block", network.middle)
  for i, block in enumerate(network.output_blocks):
    entries |= _block(f"output_blocks.{i}", block)
  return {**entries, **_norm("out.0", network.out_norm), **_conv("out.2", network.out_conv)}


def to_state_dict(network):
  """The network's weights, as float32 arrays: {name: array}."""
  return {
    name: np.ascontiguousarray(entry.to_torch(entry.variable.numpy()))
    for name, entry in state_dict_entries(network).items()
  }


def load_state_dict(network, state_dict):
  """Gives the network the weights of a state dict, or none of them if it does not fit: `ValueError`."""
  entries = state_dict_entries(network)
  for name, entry in entries.items():
    if name not in state_dict:
      raise settings.InputError(
        name, f"expected shape {entry.torch_shape}, missing from the state dict"
      )
    if (shape := np.shape(state_dict[name])) != entry.torch_shape:
      raise settings.InputError(name, f"expected shape {entry.torch_shape}, received {shape}")
  for name, array in state_dict.items():
    if name not in entries:
      raise settings.InputError(
        name, f"the network has no such parameter, received shape {np.shape(array)}"
      )
  for name, entry in entries.items():
    entry.variable.assign(entry.from_torch(np.asarray(state_dict[name])))


def _block(name, block):
  entries = {}
  for j, layer in enumerate(block):
    entries |= _layer(f"{name}.{j}", layer)
  return entries


def _layer(name, layer):
  match layer:
    case blocks.ResBlock():
      return _res_block(name, layer)
    case blocks.AttentionBlock():
      return {
        **_norm(f"{name}.norm", layer.norm),
        **_dense_as_conv(f"{name}.qkv", layer.qkv),
        **_dense_as_conv(f"{name}.proj_out", layer.out_dense),
      }
    case layers.Downsample():
      return _conv(f"{name}.op", layer.conv) if layer.learned else {}
    case layers.Upsample():
      return _conv(f"{name}.conv", layer.conv) if layer.learned else {}
    case _:
      return _conv(name, layer)


def _res_block(name, layer):
  return {
    **_norm(f"{name}.in_layers.0", layer.in_norm),
    **_conv(f"{name}.in_layers.2", layer.in_conv),
    **_dense(f"{name}.emb_layers.1", layer.emb_dense),
    **_norm(f"{name}.out_layers.0", layer.out_norm),
    **_conv(f"{name}.out_layers.3", layer.out_conv),
    **(_conv(f"{name}.skip_connection", layer.skip) if layer.skip else {}),
  }


def _vector(variable):
  return Entry(variable, np.asarray, np.asarray)


def _norm(name, layer):
  return {f"{name}.weight": _vector(layer.gamma), f"{name}.bias": _vector(layer.beta)}


def _dense(name, layer):
  """[in, out] here, [out, in] there."""
  return {
    f"{name}.weight": Entry(layer.kernel, np.transpose, np.transpose),
    f"{name}.bias": _vector(layer.bias),
  }


def _dense_as_conv(name, layer):
  """[in, out] here, a one-dimensional convolution [out, in, 1] there."""
  return {
    f"{name}.weight": Entry(
      layer.kernel, lambda kernel: kernel.T[..., None], lambda weight: weight[..., 0].T
    ),
    f"{name}.bias": _vector(layer.bias),
  }


def _conv(name, layer):
  """[H, W, in, out] here, [out, in, H, W] there."""
  return {
    f"{name}.weight": Entry(
      layer.kernel,
      lambda kernel: kernel.transpose(3, 2, 0, 1),
      lambda weight: weight.transpose(2, 3, 1, 0),
    ),
    f"{name}.bias": _vector(layer.bias),
  }
