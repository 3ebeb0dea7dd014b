"""A network as a pure function: other weights, and dropout from a seed, without touching a variable."""

import keras
from keras import ops


def call_network(network, x, t, label=None, *, low_res=None, weights=None, dropout_seed=None):
  """The network's output, float32 [B, H, W, out_channels].

  `weights`: values for `network.trainable_variables`, in their order, such as moving averages.
  `dropout_seed`: int [2]; with it the network trains, that is drops out, as a function of the seed.
  `low_res`: for a `SuperResolutionUNet` only.
  """
  conditioning = {} if low_res is None else {"low_res": low_res}
  state = [] if weights is None else list(zip(network.trainable_variables, weights, strict=True))
  if dropout_seed is not None:
    state += dropout_state(network, dropout_seed)
  with keras.StatelessScope(state):
    return network(x, t, label, training=dropout_seed is not None, **conditioning)


def dropout_state(network, seed):
  """A seed of its own for each dropout layer: (s0, s1) becomes (s0, n s1 + i) for layer i of n."""
  states = [dropout.seed_generator.state for dropout in network.dropouts]
  return [
    (
      state,
      ops.cast(seed, state.dtype) * ops.array([1, len(states)], state.dtype)
      + ops.array([0, index], state.dtype),
    )
    for index, state in enumerate(states)
  ]
