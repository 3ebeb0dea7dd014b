"""Networks outside training."""

from collections.abc import Callable
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
  function = _graph_function(network)
  weights = [tf.convert_to_tensor(each) for each in stateless.cast_weights(network)]

  def model_fn(x_t, t, label):
    small = low_res
    if low_res is not None:
      times = tf.shape(x_t)[0] // tf.shape(low_res)[0]
      small = tf.tile(low_res, [times, 1, 1, 1])
    if not gradients.may_be_recorded():
      return function(weights, x_t, t, label, small)
    # The graph function has no gradients, which would keep it for ever.
    with gradients.forgotten_custom_gradients():
      return stateless.call_network(network, x_t, t, label, low_res=small, weights=weights)

  return model_fn


class _GraphFunction:
  """Networks of one architecture as one graph function of weights and inputs.

  It holds no network and no weights: it is freed with the last of its networks.
  """

  def __init__(self):
    self.networks: weakref.WeakSet[keras.Model] = weakref.WeakSet()
    self._function = tf.function(self._call, autograph=False)

  def __call__(self, weights, *inputs):
    """Returns the output for x_t, t, labels and small images, of which the last two may be None."""
    specs = [None if each is None else _of_any_number(each) for each in inputs]
    output = self._function.get_concrete_function(weights, *specs)(weights, *inputs)
    output.set_shape(inputs[0].shape[:1].concatenate(output.shape[1:]))
    return output

  def _call(self, weights, x_t, t, label, low_res):
    network = next(iter(self.networks))  # All of them compute the same.
    with gradients.forgotten_custom_gradients():
      return stateless.call_network(network, x_t, t, label, low_res=low_res, weights=weights)


# What is traced once serves all samplers, all likelihoods, and all models of the architecture.
_BY_NETWORK: weakref.WeakKeyDictionary[keras.Model, _GraphFunction] = weakref.WeakKeyDictionary()
_BY_ARCHITECTURE: weakref.WeakValueDictionary[tuple[type, str], _GraphFunction] = (
  weakref.WeakValueDictionary()
)


def _graph_function(network: keras.Model) -> _GraphFunction:
  if network not in _BY_NETWORK:
    function = _GraphFunction()
    if isinstance(network, networks.Encoder):  # Its configuration says all that it computes.
      options = {**network.get_config(), "name": None, "dropout": None}
      function = _BY_ARCHITECTURE.setdefault((type(network), repr(options)), function)
    function.networks.add(network)
    _BY_NETWORK[network] = function
  return _BY_NETWORK[network]


def _of_any_number(array):
  return tf.TensorSpec([None, *array.shape[1:]], array.dtype)
