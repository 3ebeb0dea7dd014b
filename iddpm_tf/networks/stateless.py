"""A network as a pure function of weights and a dropout seed, which changes no variable."""

from collections.abc import Sequence

import keras
from keras import ops

from iddpm_tf.networks.annotations import Tensor
from iddpm_tf.networks.encoder import Encoder


def call_network(
  network: Encoder,
  x: Tensor,
  t: Tensor,
  label: Tensor | None = None,
  *,
  low_res: Tensor | None = None,
  weights: Sequence[Tensor] | None = None,
  dropout_seed: Tensor | None = None,
  remat: bool = False,
) -> Tensor:
  """Returns the output of a network: float32 [B, H, W, out_channels] of a UNet.

  Args:
    network: a built network.
    x: noisy images, float [B, H, W, C].
    t: timesteps, float [B].
    label: class labels, int [B], for a class-conditional network.
    low_res: small images, float [B, h, w, C], for a `SuperResolutionUNet`.
    weights: values to use in place of `network.trainable_variables`, in their order, such as moving
      averages. They may have the types of `computation_dtypes`.
    dropout_seed: int [2]. The network drops units out as in training, as a function of this seed.
      None means no dropout.
    remat: whether the backward pass computes the activations inside of each block again, which
      saves memory. It requires `weights`, as tensors.

  Raises:
    ValueError: there are other weights than variables, or one has another shape.
  """
  conditioning = {
    name: value for name, value in (("label", label), ("low_res", low_res)) if value is not None
  }
  state = [] if weights is None else list(zip(network.trainable_variables, weights, strict=True))
  if dropout_seed is not None:
    state += dropout_state(network, dropout_seed)
  with keras.StatelessScope() as scope:
    # The scope's constructor would cast weights back to float32.
    for variable, value in state:
      if variable.shape != tuple(value.shape):
        raise ValueError(f"{variable.path}: expected {variable.shape}, received {value.shape}")
      scope.add_update((variable, value))
    return network(x, t, training=dropout_seed is not None, remat=remat, **conditioning)


def computation_dtypes(network: Encoder) -> list[str]:
  """Returns the type in which the network uses each of its trainable variables, in their order.

  Convolutions and dense layers cast their weights to the type of their policy.

  Args:
    network: a built network.
  """
  # Keras has no public list of the layers inside of layers.
  dtypes = {
    id(variable): layer.compute_dtype
    for layer in network._flatten_layers()
    if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense))
    for variable in layer.trainable_variables
  }
  return [dtypes.get(id(variable), variable.dtype) for variable in network.trainable_variables]


def cast_weights(network: Encoder) -> list[Tensor]:
  """Returns the weights in the types in which the network uses them, for `call_network`.

  Outside of a loop, they are then cast once and not in each call.

  Args:
    network: a built network.
  """
  return [
    variable.value if variable.dtype == dtype else ops.cast(variable.value, dtype)
    for variable, dtype in zip(network.trainable_variables, computation_dtypes(network))
  ]


def dropout_state(network: Encoder, seed: Tensor) -> list[tuple[keras.Variable, Tensor]]:
  """Returns the seed of each dropout layer, as pairs of the layer's variable and its value.

  From the seed (s0, s1), layer i of n gets (s0, n s1 + i), so that no two layers share a seed.
  """
  states = [dropout.seed_generator.state for dropout in network.dropouts]
  dtype = states[0].dtype
  seeds = ops.cast(seed, dtype) * ops.array([1, len(states)], dtype) + ops.array(
    [[0, index] for index in range(len(states))], dtype
  )  # [layers, 2]
  return list(zip(states, ops.unstack(seeds)))
