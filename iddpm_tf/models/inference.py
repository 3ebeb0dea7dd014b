"""Networks outside training."""

import keras
import tensorflow as tf

from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.networks import stateless
from iddpm_tf.utils import gradients


def make_model_fn(
  network: keras.Model, label: tf.Tensor | None, low_res: tf.Tensor | None = None
) -> gaussian_diffusion.ModelFn:
  """Returns a network without dropout as a function of x_t and t.

  The weights are cast once, here: make the function inside of the graph that uses it. What the
  function computes eagerly may not see later changes of the weights. A graph in which it is traced
  is freed with the last object that uses it.

  Args:
    network: a built network.
    label: the labels of the images, int32 `[B]`, or None.
    low_res: for a super-resolution network, the images to enlarge, `[B, h, w, C]` in [-1, 1].
  """
  weights = stateless.cast_weights(network)

  def model_fn(x_t, t):
    with gradients.forgotten_custom_gradients():
      return stateless.call_network(network, x_t, t, label, low_res=low_res, weights=weights)

  return model_fn
