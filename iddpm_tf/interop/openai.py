"""Weights under the names and in the layouts of the authors' PyTorch code.

It is improved-diffusion (Nichol & Dhariwal, 2021) and guided-diffusion (Dhariwal & Nichol, 2021).

A state dict maps names such as `input_blocks.1.0.in_layers.0.weight` to NumPy arrays.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np

from iddpm_tf import networks
from iddpm_tf import settings
from iddpm_tf.interop import architecture
from iddpm_tf.networks import blocks
from iddpm_tf.networks import layers
from iddpm_tf.networks import pooling


class Entry(NamedTuple):
  """The variable of a parameter of the authors' state dict, and its layouts.

  Attributes:
    variable: the variable.
    to_torch: converts an array from the variable's layout to the authors'.
    from_torch: converts an array from the authors' layout to the variable's.
  """

  variable: keras.Variable
  to_torch: Callable[[np.ndarray], np.ndarray]
  from_torch: Callable[[np.ndarray], np.ndarray]

  @property
  def torch_shape(self) -> tuple[int, ...]:
    """The shape of the parameter in the authors' layout."""
    return self.to_torch(np.empty(self.variable.shape, np.bool_)).shape


Entries = dict[str, Entry]


def state_dict_entries(network: networks.Encoder) -> Entries:
  """Returns the entry of each weight of a built network by the authors' name, in their order."""
  entries = {**_dense("time_embed.0", network.time_in), **_dense("time_embed.2", network.time_out)}
  if isinstance(network, networks.UNet) and network.num_classes:
    entries["label_emb.weight"] = _vector(network.label_embedding.embeddings)
  for i, block in enumerate(network.input_blocks):
    entries |= _block(f"input_blocks.{i}", block)
  entries |= _block("middle_block", network.middle)
  if isinstance(network, networks.NoisyClassifier):
    return entries | _head(network.head)
  assert isinstance(network, networks.UNet)
  for i, block in enumerate(network.output_blocks):
    entries |= _block(f"output_blocks.{i}", block)
  return {**entries, **_norm("out.0", network.out_norm), **_conv("out.2", network.out_conv)}


def to_state_dict(network: networks.Encoder) -> dict[str, np.ndarray]:
  """Returns the weights of a built network by the authors' names, as float32 arrays."""
  return {
    name: np.ascontiguousarray(entry.to_torch(entry.variable.numpy()))
    for name, entry in state_dict_entries(network).items()
  }


def load_state_dict(network: networks.Encoder, state_dict: Mapping[str, np.ndarray]) -> None:
  """Assigns the weights of a state dict to a built network.

  Raises:
    InputError: the state dict, `state_dict`, does not fit. The network is then unchanged.
  """
  entries = state_dict_entries(network)
  expected = {name: entry.torch_shape for name, entry in entries.items()}
  received = {name: np.shape(array) for name, array in state_dict.items()}
  if name := architecture.first_difference(expected, received):
    message = architecture.describe_difference(name, expected, received)
    raise settings.InputError("state_dict", message)
  for name, entry in entries.items():
    entry.variable.assign(entry.from_torch(np.asarray(state_dict[name])))


def _block(name: str, block: Sequence[keras.Layer]) -> Entries:
  entries: Entries = {}
  for j, layer in enumerate(block):
    entries |= _layer(f"{name}.{j}", layer)
  return entries


def _layer(name: str, layer: keras.Layer) -> Entries:
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


def _res_block(name: str, layer: blocks.ResBlock) -> Entries:
  return {
    **_norm(f"{name}.in_layers.0", layer.in_norm),
    **_conv(f"{name}.in_layers.2", layer.in_conv),
    **_dense(f"{name}.emb_layers.1", layer.emb_dense),
    **_norm(f"{name}.out_layers.0", layer.out_norm),
    **_conv(f"{name}.out_layers.3", layer.out_conv),
    **(_conv(f"{name}.skip_connection", layer.skip) if layer.skip else {}),
  }


def _head(head: keras.Layer) -> Entries:
  """Returns the entries of a classifier's last layer."""
  match head:
    case pooling.AttentionHead():
      return {
        **_norm("out.0", head.norm),
        # [position, channel] here, [channel, position] in PyTorch.
        "out.2.positional_embedding": Entry(head.positions, np.transpose, np.transpose),
        **_dense_as_conv("out.2.qkv_proj", head.qkv),
        **_dense_as_conv("out.2.c_proj", head.out_dense),
      }
    case pooling.MeansHead():
      first = _dense("out.0", head.in_dense)
      if head.norm is None:
        return {**first, **_dense("out.2", head.out_dense)}
      return {**first, **_norm("out.1", head.norm), **_dense("out.3", head.out_dense)}
    case _:
      last = _dense_as_conv("out.3", head.out_dense, dimensions=2)
      return {**_norm("out.0", head.norm), **last}


def _vector(variable: keras.Variable) -> Entry:
  return Entry(variable, np.asarray, np.asarray)


def _norm(name: str, layer: layers.GroupNorm) -> Entries:
  return {f"{name}.weight": _vector(layer.gamma), f"{name}.bias": _vector(layer.beta)}


def _dense(name: str, layer: keras.layers.Dense) -> Entries:
  """Returns the entries of a dense layer. Kernels are [in, out] in Keras, [out, in] in PyTorch."""
  return {
    f"{name}.weight": Entry(layer.kernel, np.transpose, np.transpose),
    f"{name}.bias": _vector(layer.bias),
  }


def _dense_as_conv(name: str, layer: keras.layers.Dense, dimensions: int = 1) -> Entries:
  """Returns the entries of a dense layer that is a convolution of size 1 in PyTorch.

  Kernels are [in, out] in Keras, and [out, in, 1] or [out, in, 1, 1] in PyTorch.
  """
  ones = (1,) * dimensions
  return {
    f"{name}.weight": Entry(
      layer.kernel,
      lambda kernel: kernel.T.reshape(*kernel.T.shape, *ones),
      lambda weight: weight.reshape(weight.shape[:2]).T,
    ),
    f"{name}.bias": _vector(layer.bias),
  }


def _conv(name: str, layer: keras.layers.Conv2D) -> Entries:
  """Returns the entries of a convolution.

  Kernels are [H, W, in, out] in Keras and [out, in, H, W] in PyTorch.
  """
  return {
    f"{name}.weight": Entry(
      layer.kernel,
      lambda kernel: kernel.transpose(3, 2, 0, 1),
      lambda weight: weight.transpose(2, 3, 1, 0),
    ),
    f"{name}.bias": _vector(layer.bias),
  }
