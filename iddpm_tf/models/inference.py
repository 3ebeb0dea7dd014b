"""Calls of a network outside training."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from iddpm_tf.networks import stateless
from iddpm_tf.utils import gradients


def call_network(
  network: keras.Model,
  x_t: tf.Tensor,
  t: tf.Tensor,
  label: tf.Tensor | None,
  *,
  low_res: tf.Tensor | None = None,
  weights: Sequence[tf.Variable] | None = None,
) -> tf.Tensor:
  """Returns the output of a network without dropout, as `networks.stateless.call_network` does.

  A graph in which it is traced is freed with the last object that uses it.
  """
  with gradients.forgotten_custom_gradients():
    return stateless.call_network(network, x_t, t, label, low_res=low_res, weights=weights)
