"""Requests in a bounded queue, one drawn at a time; what is wrong with one is said before it waits."""

from concurrent import futures
import threading

import numpy as np
import tensorflow as tf

from iddpm_tf.serving.development import errors


class Predictor:
  """Draws for all protocols."""

  def __init__(self, models, *, max_batch, max_queue):
    """Makes it.

    Args:
      models: `models.Models`.
      max_batch: images a request at most.
      max_queue: requests that are drawn or wait at most; one beyond is refused at once.
    """
    self.models, self.max_batch, self.max_queue = models, max_batch, max_queue
    self._places = threading.BoundedSemaphore(max_queue)
    # One at a time: a graph takes all cores.
    self._worker = futures.ThreadPoolExecutor(1, thread_name_prefix="draw")

  def submit(self, servable, signature, inputs, outputs=()):
    """A future of {name: array} of the outputs.

    Args:
      servable: a `servable.Servable`.
      signature: its name; empty: the default.
      inputs: {name: array, or nested lists of JSON}.
      outputs: names of those that are wanted; none: all.

    Raises:
      Refused: the inputs are not the signature's, or too many requests wait.
    """
    arrays = self._arrays(servable.inputs(signature), inputs)
    if not self._places.acquire(blocking=False):
      raise errors.Refused("RESOURCE_EXHAUSTED", f"{self.max_queue} requests are drawn or wait already: ask again later")
    future = self._worker.submit(_draw, servable, signature, arrays, outputs)
    # Of one that was cancelled while it waited, too.
    future.add_done_callback(lambda _: self._places.release())
    return future

  def close(self):
    """What waits is given up; what is drawn ends."""
    self._worker.shutdown(wait=True, cancel_futures=True)

  def require_shape(self, name, shape, spec):
    """`Refused` unless an input has the shape of its `tf.TensorSpec`, and no more images than may be asked for."""
    if not spec.shape.is_compatible_with(shape):
      wanted = ", ".join("N" if size is None else str(size) for size in spec.shape)
      raise errors.invalid(name, f"the shape [{wanted}]", list(shape))
    if not 1 <= shape[0] <= self.max_batch:
      raise errors.invalid("inputs", f"1 to {self.max_batch} images a request", shape[0])

  def _arrays(self, specs, inputs):
    if set(inputs) == {""} and len(specs) == 1:  # REST leaves an only input's name out.
      inputs = {next(iter(specs)): inputs[""]}
    if set(inputs) != set(specs):
      raise errors.invalid("inputs", ", ".join(sorted(specs)), ", ".join(sorted(inputs)) or "none")
    arrays = {}
    for name, spec in specs.items():
      value = inputs[name]
      arrays[name] = value if isinstance(value, np.ndarray) else _of_json(name, value, spec)
      self.require_shape(name, arrays[name].shape, spec)
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
      raise errors.invalid("inputs", "as many of each", counts)
    return arrays


def _draw(servable, signature, arrays, outputs):
  try:
    return servable.run(signature, arrays, outputs)
  except tf.errors.InvalidArgumentError as error:
    raise errors.of_graph(error) from None
  except tf.errors.ResourceExhaustedError as error:
    raise errors.Refused("RESOURCE_EXHAUSTED", str(error).splitlines()[0]) from None


def _of_json(name, value, spec):
  """An array as a `tf.TensorSpec` wants it: JSON has no types of its own."""
  try:
    array = np.array(value)
  except ValueError:
    raise errors.invalid(name, "rows of equal length", "ragged ones") from None
  wanted = spec.dtype
  if wanted.is_integer:
    fits = array.dtype.kind in "iu" and array.min() >= wanted.min and array.max() <= wanted.max if array.size else True
    expected = f"whole numbers from {wanted.min} to {wanted.max}"
  else:
    fits, expected = wanted.is_floating and array.dtype.kind in "iuf", f"{wanted.name}, and by REST numbers alone"
  if not fits:
    raise errors.invalid(name, expected, str(value)[:100])
  return array.astype(wanted.as_numpy_dtype)
