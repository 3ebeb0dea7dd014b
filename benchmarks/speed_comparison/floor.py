"""The floor: the convolutions of a network alone, which no change of the rest could avoid."""

from collections.abc import Callable
import math
from typing import Any
from typing import NamedTuple

import keras

from benchmarks.speed_comparison import contestants
from benchmarks.speed_comparison import here
from iddpm_tf import networks
from iddpm_tf.networks import blocks
from iddpm_tf.networks import layers


class Convolution(NamedTuple):
  """A convolution of a network.

  Attributes:
    input_shape: height, width and channels of its input, with the padding that is not its own.
    kernel_shape: height, width, input channels and output channels of its kernel.
    stride: the step between its windows.
    padding: `SAME` or `VALID`.
    dtype: the type in which it computes.
  """

  input_shape: tuple[int, int, int]
  kernel_shape: tuple[int, ...]
  stride: int
  padding: str
  dtype: str

  @property
  def output_size(self) -> tuple[int, int]:
    """Height and width of its output."""
    sizes = [
      size if self.padding == "SAME" else size - kernel + 1
      for size, kernel in zip(self.input_shape[:2], self.kernel_shape)
    ]
    height, width = (-(-size // self.stride) for size in sizes)
    return height, width

  @property
  def flops(self) -> int:
    """Floating-point operations for one image. A multiply-add counts as two."""
    return 2 * math.prod(self.kernel_shape) * math.prod(self.output_size)


def convolutions(network: networks.UNet, height: int, width: int) -> list[Convolution]:
  """Returns the convolutions of a built network, in the order in which they run.

  Args:
    network: the network.
    height: the height of its images.
    width: their width.
  """
  found, walked = [], []

  def add(layer, size, extra=0):
    channels = layer.kernel.shape[2]
    shape = (size[0] + extra, size[1] + extra, channels)
    stride, padding = layer.strides[0], layer.padding.upper()
    found.append(
      Convolution(shape, tuple(layer.kernel.shape), stride, padding, layer.compute_dtype)
    )
    walked.append(layer)

  size = (height, width)
  for block in network.blocks:
    for layer in block:
      if isinstance(layer, blocks.ResBlock):
        assert layer.resample == "none"  # No contestant has others.
        for conv in (layer.in_conv, layer.out_conv, layer.skip):
          if conv is not None:
            add(conv, size)
      elif isinstance(layer, layers.Downsample):
        if layer.learned:
          add(layer.conv, size, extra=1)  # A row and a column of zeros.
        size = (size[0] // 2, size[1] // 2)
      elif isinstance(layer, layers.Upsample):
        size = (size[0] * 2, size[1] * 2)
        if layer.learned:
          add(layer.conv, size)
      elif isinstance(layer, keras.layers.Conv2D):
        add(layer, size)
  add(network.out_conv, size)
  # Keras has no public list of the layers inside of layers.
  layers_of_network = network._flatten_layers()
  present = {id(layer) for layer in layers_of_network if isinstance(layer, keras.layers.Conv2D)}
  assert present == {id(layer) for layer in walked} and len(present) == len(walked)
  return found


class Floor:
  """The convolutions of the network with one precision; see `worker.Subject`.

  They run one after the other, as in the network, on inputs of their shapes. The training step has
  their two gradients. What is not a convolution is left out: norms, activations, dense layers,
  attention, biases, the optimizer and the averages.
  """

  def __init__(self, work: contestants.Work):
    """Imports TensorFlow."""
    here.load_tensorflow(work)
    self._work = work
    network = networks.build_network(here.make_config(work))
    self._convolutions = convolutions(network, *work.network.image_shape[:2])

  def about(self) -> dict[str, Any]:
    """Returns the number of convolutions and their weights, and their FLOP for the batch."""
    return {
      "convolutions": len(self._convolutions),
      "parameters": sum(math.prod(each.kernel_shape) for each in self._convolutions),
      "flops": self._work.batch_size * sum(each.flops for each in self._convolutions),
    }

  def prepare(self, measure: str) -> Callable[[], object]:
    """Returns what runs `forward` or `training` once."""
    return run_all(
      self._convolutions,
      self._work.batch_size,
      training={"forward": False, "training": True}[measure],
    )


def run_all(
  convolutions: list[Convolution], batch_size: int, *, training: bool
) -> Callable[[], object]:
  """Returns what runs convolutions once.

  Args:
    convolutions: the convolutions. The first has no gradient of its input, which is the image.
    batch_size: images of each.
    training: whether to run their gradients, too.
  """
  import tensorflow as tf

  def normal(shape, dtype):
    # A variable, because TensorFlow would compute constants in advance.
    return tf.Variable(tf.cast(tf.random.stateless_normal(shape, [0, 0]), dtype), trainable=False)

  kernels = [normal(each.kernel_shape, each.dtype) for each in convolutions]
  inputs = {
    key: normal((batch_size, *key[0]), key[1])
    for key in {(each.input_shape, each.dtype) for each in convolutions}
  }

  def first_value(array):
    # TensorFlow leaves out what no result depends on.
    return tf.cast(tf.reshape(array, [-1])[0], tf.float32)

  @tf.function(autograph=False)
  def run():
    last: list[tf.Tensor] = []
    results, backward = [], []
    for index, (each, kernel) in enumerate(zip(convolutions, kernels)):
      with tf.control_dependencies(last):
        x, w = inputs[each.input_shape, each.dtype].read_value(), kernel.read_value()
        y = tf.nn.conv2d(x, w, each.stride, each.padding)
      last = [y]
      results += last
      backward.append((each, x, w, y, index > 0))
    for each, x, w, y, has_input_gradient in reversed(backward if training else []):
      options = {"strides": [1, each.stride, each.stride, 1], "padding": each.padding}
      with tf.control_dependencies(last):
        # The output stands for the gradient, which has its shape.
        last = [
          tf.raw_ops.Conv2DBackpropFilter(
            input=x, filter_sizes=each.kernel_shape, out_backprop=y, **options
          )
        ]
        if has_input_gradient:
          last.append(
            tf.raw_ops.Conv2DBackpropInput(
              input_sizes=tf.shape(x), filter=w, out_backprop=y, **options
            )
          )
      results += last
    return tf.stack(list(map(first_value, results)))

  return lambda: run().numpy()
