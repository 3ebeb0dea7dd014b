"""Networks outside training."""

from collections.abc import Callable
import threading
from typing import Any
import weakref

import keras
import tensorflow as tf

from iddpm_tf import networks
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.networks import stateless
from iddpm_tf.utils import gradients


def make_model_fn(
  network: keras.Model, label: tf.Tensor | None, low_res: tf.Tensor | None = None
) -> gaussian_diffusion.ModelFn:
  """Returns a network without dropout as a function of x_t and t.

  The weights are read and cast once, here: make the function inside of the graph that uses it. The
  function does not see later changes of the weights.

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
  graph = _graph_of(network)
  weights = stateless.cast_weights(network)
  values = [tf.convert_to_tensor(each) for each in weights]

  def model_fn(x_t, t, label):
    small = low_res
    if low_res is not None:
      times = tf.shape(x_t)[0] // tf.shape(low_res)[0]
      small = tf.tile(low_res, [times, 1, 1, 1])
    if graph and not gradients.may_be_recorded():
      return graph(network, values, x_t, t, label, small)
    # The graph has no gradients. A tape watches the variables among the weights.
    with gradients.forgotten_custom_gradients():
      return stateless.call_network(network, x_t, t, label, low_res=small, weights=weights)

  return model_fn


class _SharedGraph:
  """A graph function of weights and inputs, which networks that compute the same share.

  It holds no network and no weights. Each of its networks holds it.
  """

  def __init__(self) -> None:
    self._function = tf.function(self._call, autograph=False)
    self._caller = threading.local()

  def __call__(self, network, weights, *arrays):
    """Returns the output for x_t, t, labels and small images, of which the last two may be None.

    Args:
      network: the network, which is called if the graph has to be traced.
      weights: the weights of the network, in the types in which it uses them.
      *arrays: the inputs of the network.
    """
    inputs: list[Any] = [None if each is None else tf.convert_to_tensor(each) for each in arrays]
    specs = [None if each is None else _of_any_number(each) for each in inputs]
    self._caller.network = network
    try:
      concrete = self._function.get_concrete_function(weights, *specs)
    finally:
      del self._caller.network
    output = concrete(weights, *inputs)
    output.set_shape(inputs[0].shape[:1].concatenate(output.shape[1:]))
    return output

  def _call(self, weights, x_t, t, label, low_res):
    network = self._caller.network
    with gradients.forgotten_custom_gradients():
      return stateless.call_network(network, x_t, t, label, low_res=low_res, weights=weights)


# What is traced once serves all samplers, all likelihoods, and all models of the architecture.
_GRAPHS: weakref.WeakValueDictionary[Any, _SharedGraph] = weakref.WeakValueDictionary()
_GRAPHS_OF_NETWORKS: weakref.WeakKeyDictionary[keras.Model, _SharedGraph] = (
  weakref.WeakKeyDictionary()
)


def _graph_of(network: keras.Model) -> _SharedGraph | None:
  """Returns the graph of all networks that compute the same, or None for a network of its own.

  Networks of these classes compute the same if their configurations and the types of their layers
  are the same. Other classes may compute anything. Weights that are not trainable, because somebody
  froze them, would be those of the network that was traced. Shapes need no comparison: weights and
  inputs of other shapes are traced anew.
  """
  known = (networks.UNet, networks.SuperResolutionUNet, networks.NoisyClassifier)
  if type(network) not in known or len(network.trainable_variables) < len(network.weights):
    return None
  options = {**network.get_config(), "name": None, "dropout": None}
  # Keras has no public list of the layers inside of layers.
  policies = [(type(layer), layer.dtype_policy.name) for layer in network._flatten_layers()]
  key = type(network), repr(options), tuple(policies)
  graph = _GRAPHS.get(key)
  if graph is None:
    graph = _GRAPHS[key] = _SharedGraph()
  _GRAPHS_OF_NETWORKS[network] = graph
  return graph


def _of_any_number(array):
  return tf.TensorSpec([None, *array.shape[1:]], array.dtype)
