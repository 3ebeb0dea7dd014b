"""Requests in a bounded queue, one drawn at a time; what is wrong with one is said before it waits."""

from concurrent import futures
import reprlib
import threading
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from iddpm_tf.serving.server import errors


class Order(NamedTuple):
  """A request that is drawn or waits."""

  future: futures.Future  # Of {name: array} of the outputs.
  gone: threading.Event

  def give_up(self):
    """Nobody waits for it: it is not drawn if it has not begun."""
    self.gone.set()


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
    """An `Order`.

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
      raise errors.Refused(
        "RESOURCE_EXHAUSTED",
        f"{self.max_queue} requests are drawn or wait already: ask again later",
      )
    gone = threading.Event()
    return Order(self._worker.submit(self._draw, servable, signature, arrays, outputs, gone), gone)

  def close(self):
    """What waits is given up; what is drawn ends."""
    self._worker.shutdown(wait=True, cancel_futures=True)

  def require_shape(self, name, shape, spec):
    """`Refused` unless an input has the shape of its `tf.TensorSpec`, and no more images than may be asked for."""
    if not shape or not spec.shape.is_compatible_with(shape):
      wanted = ", ".join("N" if size is None else str(size) for size in spec.shape) or "N, ..."
      raise errors.invalid(name, f"the shape [{wanted}]", list(shape))
    if not 1 <= shape[0] <= self.max_batch:
      raise errors.invalid("inputs", f"1 to {self.max_batch} images a request", shape[0])

  def _draw(self, servable, signature, arrays, outputs, gone):
    # Until it is taken from the queue an order has its place, whoever has given it up.
    try:
      if gone.is_set():
        raise errors.given_up()
      return servable.run(signature, arrays, outputs)
    except tf.errors.InvalidArgumentError as error:
      raise errors.of_graph(error) from None
    except tf.errors.ResourceExhaustedError as error:
      raise errors.Refused("RESOURCE_EXHAUSTED", str(error).splitlines()[0]) from None
    finally:
      self._places.release()

  def _arrays(self, specs, inputs):
    if set(inputs) == {""} and len(specs) == 1:  # REST leaves an only input's name out.
      inputs = {next(iter(specs)): inputs[""]}
    if set(inputs) != set(specs):
      raise errors.invalid("inputs", ", ".join(sorted(specs)), ", ".join(sorted(inputs)) or "none")
    arrays = {}
    for name, spec in specs.items():
      value = inputs[name]
      # Before it is made: a short string can be a large array.
      self.require_shape(
        name, value.shape if isinstance(value, np.ndarray) else _shape(value), spec
      )
      arrays[name] = value if isinstance(value, np.ndarray) else _of_json(name, value, spec)
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
      raise errors.invalid("inputs", "as many of each", counts)
    return arrays


def _shape(value):
  """Of nested lists, by the first of each."""
  shape = []
  while isinstance(value, list):
    shape.append(len(value))
    value = value[0] if value else None
  return shape


def _of_json(name, value, spec):
  """An array as a `tf.TensorSpec` wants it, of nested lists of such a shape: JSON has no types of its own."""
  wanted, kinds = spec.dtype, (int, float) if spec.dtype.is_floating else int
  expected = f"whole numbers from {wanted.min} to {wanted.max}" if wanted.is_integer else "numbers"

  def is_whole(value, shape):
    if not shape:
      return isinstance(value, kinds) and wanted.min <= value <= wanted.max
    return (
      isinstance(value, list)
      and len(value) == shape[0]
      and all(is_whole(one, shape[1:]) for one in value)
    )

  if not (wanted.is_integer or wanted.is_floating) or not is_whole(value, _shape(value)):
    raise errors.invalid(name, f"{expected} in rows of equal length", reprlib.repr(value))
  return np.array(value, wanted.as_numpy_dtype)
