"""The cost of a network for one image, counted from its layers: parameters, FLOP and memory."""

from concurrent import futures
import math
from typing import NamedTuple

import keras

from iddpm_tf import config as config_lib
from iddpm_tf import networks
from iddpm_tf.networks import blocks
from iddpm_tf.networks import layers
from iddpm_tf.networks import pooling

_FLOAT32_BYTES = 4


class Cost(NamedTuple):
  """The cost of a network for one image.

  Attributes:
    parameters: number of weights.
    flops: floating-point operations of a forward pass. A multiply-add counts as two. Norms, biases
      and activations are left out.
    activation_bytes: memory that a training step keeps for the gradients.
    remat_bytes: the same where the activations inside of blocks are computed again.
  """

  parameters: int
  flops: int
  activation_bytes: int
  remat_bytes: int


def config_cost(config: config_lib.Config) -> Cost:
  """Returns the cost of a configuration's network for an image of `config.data.image_shape`.

  No memory is allocated for the weights.
  """

  def build():
    # Variables made in this scope wait in a list of the thread to be initialized, here for ever. In
    # the caller's thread, the next scope to end would allocate them all.
    with keras.StatelessScope(initialize_variables=False):
      return networks.build_network(config)

  with futures.ThreadPoolExecutor(1) as thread:
    network = thread.submit(build).result()
  return network_cost(network, *config.data.image_shape[:2])


def network_cost(network: networks.Encoder, height: int, width: int) -> Cost:
  """Returns the cost of a built network for an image of height x width."""
  positions = height * width
  flops = _kernel_flops(network.time_in, 1) + _kernel_flops(network.time_out, 1)
  kept = []  # By each block, with its output.
  outputs = 0
  # The input of a block on the way up is a concatenation, which copies both of its parts.
  way_up = network.output_blocks if isinstance(network, networks.UNet) else []
  concatenated = {id(block[0]) for block in way_up}
  for block in network.blocks:
    kept.append(0)
    for layer in block:
      positions = positions_after(layer, positions)
      flops += layer_flops(layer, positions)
      kept[-1] += _activation_bytes(layer, positions)
      if id(layer) in concatenated:
        copied = layer.in_conv.kernel.shape[-2] * positions * _itemsize(layer)
        kept[-1] += copied
        outputs += copied
    outputs += _output_channels(block[-1]) * positions * _itemsize(block[-1])
  if isinstance(network, networks.UNet):
    end_flops = _kernel_flops(network.out_conv, positions)
    # The input of the last norm, its result and the output.
    end_channels = 2 * network.out_conv.kernel.shape[-2] + network.out_channels
  else:
    end_flops = _head_flops(network.head, positions)
    end_channels = _head_channels(network.head, positions)
  # The ends are float32 under every policy.
  ends = positions * _FLOAT32_BYTES * end_channels
  return Cost(
    network.count_params(), flops + end_flops, sum(kept) + ends, outputs + max(kept) + ends
  )


def layer_flops(layer: keras.Layer, positions: int) -> int:
  """Returns the FLOP of a layer of a block whose output has `positions` = height x width."""
  if isinstance(layer, blocks.ResBlock):
    convolutions = (layer.in_conv, layer.out_conv, layer.skip)
    return _kernel_flops(layer.emb_dense, 1) + sum(
      _kernel_flops(conv, positions) for conv in convolutions if conv
    )
  if isinstance(layer, blocks.AttentionBlock):
    # Two products of positions x positions x channels: q k^T, and the weights with v.
    attention = 2 * 2 * positions**2 * layer.out_dense.units
    projections = _kernel_flops(layer.qkv, positions) + _kernel_flops(layer.out_dense, positions)
    return attention + projections
  if isinstance(layer, (layers.Downsample, layers.Upsample)):
    return _kernel_flops(layer.conv, positions) if layer.learned else 0
  return _kernel_flops(layer, positions)


def positions_after(layer: keras.Layer, positions: int) -> int:
  """Returns height x width of a layer's output, for an input with `positions` = height x width."""
  resample = layer.resample if isinstance(layer, blocks.ResBlock) else ""
  if resample == "down" or isinstance(layer, layers.Downsample):
    return positions // 4
  return positions * 4 if resample == "up" or isinstance(layer, layers.Upsample) else positions


def _head_flops(head: keras.Layer, positions: int) -> int:
  """Returns the FLOP of a classifier's head for activations of `positions` = height x width."""
  match head:
    case pooling.AttentionHead():
      # One position more, and only one of the results is used further.
      products = 2 * 2 * (positions + 1) ** 2 * (head.qkv.units // 3)
      projections = _kernel_flops(head.qkv, positions + 1) + _kernel_flops(head.out_dense, 1)
      return products + projections
    case pooling.MeansHead():
      return _kernel_flops(head.in_dense, 1) + _kernel_flops(head.out_dense, 1)
    case _:
      return _kernel_flops(head.out_dense, 1)


def _head_channels(head: keras.Layer, positions: int) -> int:
  """Returns the values that the gradients of a classifier's head need, for each position."""
  match head:
    case pooling.AttentionHead():
      # The input of the norm and its result with the embeddings, q, k, v and the attention weights.
      return 6 * (head.qkv.units // 3) + head.num_heads * positions
    case pooling.MeansHead():
      return 0  # A few thousand values, whatever the size of the image.
    case _:
      return 2 * head.out_dense.kernel.shape[0]


def _kernel_flops(layer: keras.Layer, positions: int) -> int:
  """Returns the FLOP of a convolution or a dense layer, which use the whole kernel per position."""
  return 2 * math.prod(layer.kernel.shape) * positions


def _activation_bytes(layer: keras.Layer, positions: int) -> int:
  """Returns the memory that the gradients of a layer need, including the layer's output."""
  size = _itemsize(layer)
  if isinstance(layer, blocks.ResBlock):
    channels_in, channels = layer.in_conv.kernel.shape[-2:]
    # Two norms with their activations, a convolution and the sum, then the dropped-out values and a
    # mask.
    kept = size * (channels_in + channels) + 2 * size * channels
    return positions * (kept + (size + 1) * channels * bool(layer.dropout))
  if isinstance(layer, blocks.AttentionBlock):
    # The norm, q, k, v, their result and the sum, then the attention weights.
    kept = 6 * size * layer.out_dense.units
    return positions * (kept + layer.num_heads * positions * _FLOAT32_BYTES)
  if isinstance(layer, (layers.Downsample, layers.Upsample)):
    # The padded or repeated image, which the convolution keeps, and the output.
    if not layer.learned:
      return 0
    before = 4 if isinstance(layer, layers.Downsample) else 1
    return positions * size * layer.conv.filters * (before + 1)
  return positions * size * layer.filters


def _output_channels(layer: keras.Layer) -> int:
  """Returns the channels of the last layer of a block."""
  if isinstance(layer, blocks.ResBlock):
    return layer.channels
  if isinstance(layer, blocks.AttentionBlock):
    return layer.out_dense.units
  if isinstance(layer, (layers.Downsample, layers.Upsample)):
    return layer.conv.filters if layer.learned else 0  # As in `_activation_bytes`.
  return layer.filters


def _itemsize(layer: keras.Layer) -> int:
  """Returns the size of one value of a layer's output, in bytes."""
  return {"float32": _FLOAT32_BYTES, "bfloat16": 2, "float16": 2}[layer.compute_dtype]
