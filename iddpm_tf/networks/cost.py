"""What a network costs for one image, read off its layers: parameters, arithmetic and memory."""

from concurrent import futures
import math
from typing import NamedTuple

import keras

from iddpm_tf import networks
from iddpm_tf.networks import blocks
from iddpm_tf.networks import layers

_FLOAT32 = 4  # Bytes.


class Cost(NamedTuple):
  """Of one image of height x width."""

  parameters: int
  flops: (
    int  # Of a forward pass; a multiply-add is two. Norms, biases and activations are left out.
  )
  activation_bytes: int  # What a training step keeps for the gradients.


def of_config(config):
  """The `Cost` of a `Config`'s network and images; no weight is allocated."""

  def build():
    # Variables made in this scope wait to be initialised in a list of the thread, here for ever. In the
    # caller's thread, the next scope to end would allocate them all.
    with keras.StatelessScope(initialize_variables=False):
      return networks.build_network(config)

  with futures.ThreadPoolExecutor(1) as thread:
    network = thread.submit(build).result()
  return of_network(network, *config.data.image_shape[:2])


def of_network(network, height, width):
  """The `Cost` of a built `UNet` for an image of height x width."""
  positions = height * width
  flops = _products(network.time_in, 1) + _products(network.time_out, 1)
  kept = 0
  # On the way up a block's input is a concatenation: a copy of both its parts.
  ways_up = {id(block[0]) for block in network.output_blocks}
  for block in network.blocks:
    for layer in block:
      positions = _positions_after(layer, positions)
      flops += layer_flops(layer, positions)
      kept += _activation_bytes(layer, positions)
      if id(layer) in ways_up:
        kept += layer.in_conv.kernel.shape[-2] * positions * _itemsize(layer)
  # The last norm, its activation and the output are float32 under any policy.
  kept += positions * _FLOAT32 * (3 * network.out_conv.kernel.shape[-2] + network.out_channels)
  return Cost(network.count_params(), flops + _products(network.out_conv, positions), kept)


def _positions_after(layer, positions):
  if isinstance(layer, layers.Downsample):
    return positions // 4
  return positions * 4 if isinstance(layer, layers.Upsample) else positions


def layer_flops(layer, positions):
  """Of a layer of a block, whose output has so many positions."""
  if isinstance(layer, blocks.ResBlock):
    convolutions = (layer.in_conv, layer.out_conv, layer.skip)
    return _products(layer.emb_dense, 1) + sum(
      _products(conv, positions) for conv in convolutions if conv
    )
  if isinstance(layer, blocks.AttentionBlock):
    # q k^T and its product with v: two of positions x positions x channels.
    attention = 2 * 2 * positions**2 * layer.out_dense.units
    return attention + _products(layer.qkv, positions) + _products(layer.out_dense, positions)
  if isinstance(layer, (layers.Downsample, layers.Upsample)):
    return _products(layer.conv, positions) if layer.learned else 0
  return _products(layer, positions)


def _products(layer, positions):
  """Of a convolution or a dense layer: at each position every number of its kernel is used once."""
  return 2 * math.prod(layer.kernel.shape) * positions


def _activation_bytes(layer, positions):
  """What the gradients of a layer need, its output with it."""
  size = _itemsize(layer)
  # A norm's statistics are of float32: under another policy that is a copy of its input.
  copy = _FLOAT32 if size != _FLOAT32 else 0
  if isinstance(layer, blocks.ResBlock):
    channels_in, channels = layer.in_conv.kernel.shape[-2:]
    # Twice a norm and an activation, a convolution, the sum; the dropped-out values and their mask.
    kept = (2 * size + copy) * (channels_in + channels) + 2 * size * channels
    return positions * (kept + (size + 1) * channels * bool(layer.dropout))
  if isinstance(layer, blocks.AttentionBlock):
    # The norm, q, k, v, what they make and the sum; the attention weights.
    kept = (6 * size + copy) * layer.out_dense.units
    return positions * (kept + layer.num_heads * positions * _FLOAT32)
  if isinstance(layer, (layers.Downsample, layers.Upsample)):
    # The padded or repeated image, which the convolution keeps, and the output.
    if not layer.learned:
      return 0
    before = 4 if isinstance(layer, layers.Downsample) else 1
    return positions * size * layer.conv.filters * (before + 1)
  return positions * size * layer.filters


def _itemsize(layer):
  return {"float32": _FLOAT32, "bfloat16": 2}[layer.compute_dtype]
