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

  def submit(self, servable, signature, inputs):
    """A future of {name: array} of the outputs.

    Args:
      servable: a `models.Servable`.
      signature: its name; empty: the default.
      inputs: {name: array or nested list}.

    Raises:
      Refused: the inputs are not the signature's, or too many requests wait.
    """
    function = servable.signature(signature)
    tensors = self._tensors(function, inputs)
    if not self._places.acquire(blocking=False):
      raise errors.Refused("RESOURCE_EXHAUSTED", f"{self.max_queue} requests are drawn or wait already: ask again later")
    future = self._worker.submit(self._draw, function, tensors)
    # Of one that was cancelled while it waited, too.
    future.add_done_callback(lambda _: self._places.release())
    return future

  def close(self):
    """What waits is given up; what is drawn ends."""
    self._worker.shutdown(wait=True, cancel_futures=True)

  def require_count(self, count):
    """`Refused` unless so many images may be asked for at once."""
    if not 1 <= count <= self.max_batch:
      raise errors.invalid("inputs", f"1 to {self.max_batch} images a request", count)

  def _draw(self, function, tensors):
    try:
      return {name: value.numpy() for name, value in function(**tensors).items()}
    except tf.errors.InvalidArgumentError as error:
      raise errors.of_graph(error) from None
    except tf.errors.ResourceExhaustedError as error:
      raise errors.Refused("RESOURCE_EXHAUSTED", str(error).splitlines()[0]) from None

  def _tensors(self, function, inputs):
    specs = specs_of(function)
    if set(inputs) == {""} and len(specs) == 1:  # REST leaves an only input's name out.
      inputs = {next(iter(specs)): inputs[""]}
    if set(inputs) != set(specs):
      raise errors.invalid("inputs", ", ".join(sorted(specs)), ", ".join(sorted(inputs)) or "none")
    tensors = {name: _tensor(name, inputs[name], spec) for name, spec in specs.items()}
    counts = {name: len(value) for name, value in tensors.items()}
    if len(set(counts.values())) > 1:
      raise errors.invalid("inputs", "as many of each", counts)
    self.require_count(next(iter(counts.values())))
    return {name: tf.constant(value) for name, value in tensors.items()}


def _tensor(name, value, spec):
  """An array as a signature wants it."""
  wanted = spec.dtype.as_numpy_dtype
  if not isinstance(value, np.ndarray):
    value = _of_json(name, value, wanted)
  if value.dtype != wanted:
    raise errors.invalid(name, spec.dtype.name, value.dtype)
  require_shape(name, value.shape, spec)
  return value


def specs_of(function):
  """The inputs of a signature by name."""
  return {spec.name: spec for spec in tf.nest.flatten(function.structured_input_signature)}


def require_shape(name, shape, spec):
  """`Refused` unless an input has the shape of its signature."""
  if not spec.shape.is_compatible_with(shape):
    wanted = ", ".join("N" if size is None else str(size) for size in spec.shape)
    raise errors.invalid(name, f"the shape [{wanted}]", list(shape))


def _of_json(name, value, wanted):
  """Whole numbers of any size that fits; JSON has no types of its own."""
  try:
    array = np.array(value)
  except ValueError:
    raise errors.invalid(name, "rows of equal length", "ragged ones") from None
  limits = np.iinfo(wanted)
  if array.size and (array.dtype.kind not in "iu" or array.min() < limits.min or array.max() > limits.max):
    raise errors.invalid(name, f"whole numbers from {limits.min} to {limits.max}", str(value)[:100])
  return array.astype(wanted)
