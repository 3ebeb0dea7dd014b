"""Networks outside training."""

from collections.abc import Callable

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
  labelled_fn = make_labelled_model_fn(network, low_res)
  return lambda x_t, t: labelled_fn(x_t, t, label)


def make_labelled_model_fn(
  network: keras.Model, low_res: tf.Tensor | None = None
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor | None], tf.Tensor]:
  """Returns a network without dropout as a function of x_t, t and labels; see `make_model_fn`.

  Args:
    network: a built network.
    low_res: as for `make_model_fn`. Where the function gets a multiple of these images, they are
      repeated.
  """
  weights = stateless.cast_weights(network)

  def model_fn(x_t, t, label):
    small = low_res
    if low_res is not None:
      times = tf.shape(x_t)[0] // tf.shape(low_res)[0]
      small = tf.tile(low_res, [times, 1, 1, 1])
    with gradients.forgotten_custom_gradients():
      return stateless.call_network(network, x_t, t, label, low_res=small, weights=weights)

  return model_fn
