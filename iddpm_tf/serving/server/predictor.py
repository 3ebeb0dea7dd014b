"""A bounded queue of requests, which are drawn one at a time.

A request is checked before it enters the queue.
"""

from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent import futures
import reprlib
import threading
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from iddpm_tf.serving.server import errors
from iddpm_tf.serving.server import loaded_servable
from iddpm_tf.serving.server import model_manager
from iddpm_tf.serving.server import request_metrics


class JobProgress(NamedTuple):
  """How far a request is."""

  ahead: int  # The number of requests that are drawn before it.
  step: int | None = None  # The step that is drawn, from 1 on. None: it waits, or is not known.
  steps: int | None = None  # The number of steps. None: as above.


class Job:
  """A request that is drawn or waits.

  Attributes:
    servable: the model.
    signature: the name of the signature.
    future: the result, `{output: array}`.
    is_cancelled: whether nobody waits for the result.
    before: the steps that the sampler had begun before this request; None while the request waits,
      or if the export does not count steps.
  """

  def __init__(self, servable: loaded_servable.LoadedServable, signature: str):
    """Makes a job that is not in a queue yet."""
    self.servable, self.signature = servable, signature
    self.future: futures.Future[dict[str, np.ndarray]] = futures.Future()
    self.is_cancelled = threading.Event()
    self.before: loaded_servable.StepCounts | None = None

  def cancel(self) -> None:
    """Notes that nobody waits for the result. The request is not drawn unless it has begun."""
    self.is_cancelled.set()


class Predictor:
  """Draws the requests of all protocols.

  Attributes:
    models: the models to draw from.
    max_batch: the largest number of images per request.
    max_queue: the largest number of requests that are drawn or wait.
    metrics: the counts of the requests.
  """

  def __init__(self, models: model_manager.ModelManager, *, max_batch: int, max_queue: int):
    """Makes the predictor.

    Args:
      models: the models to draw from.
      max_batch: the largest number of images per request.
      max_queue: the largest number of requests that are drawn or wait. Further requests are
        refused.
    """
    self.models, self.max_batch, self.max_queue = models, max_batch, max_queue
    self.metrics = request_metrics.RequestMetrics(models)
    self._places = threading.BoundedSemaphore(max_queue)
    self._jobs: list[Job] = []  # The one that is drawn, and those that wait, in their order.
    self._lock = threading.Lock()  # Of the list.
    # One request at a time, because a graph uses all cores.
    self._worker = futures.ThreadPoolExecutor(1, thread_name_prefix="draw")

  def submit(
    self,
    servable: loaded_servable.LoadedServable,
    signature: str,
    inputs: Mapping[str, Any],
    outputs: Collection[str] = (),
  ) -> Job:
    """Puts a request into the queue.

    Args:
      servable: the model.
      signature: the name of a signature, or "" for the default signature.
      inputs: `{input: array or nested lists}`. The name of an only input may be "".
      outputs: the names of the outputs to compute. If there are none, all outputs are computed.

    Raises:
      RequestError: the inputs do not match the signature, or the queue is full.
    """
    arrays = self._arrays(servable.inputs(signature), inputs)
    if not self._places.acquire(blocking=False):
      raise errors.RequestError(
        "RESOURCE_EXHAUSTED",
        f"the queue of {self.max_queue} requests is full: send the request again later",
      )
    job = Job(servable, signature)
    with self._lock:  # The list has the order of the queue.
      self._jobs.append(job)
      job.future = self._worker.submit(self._draw, job, arrays, outputs)
    return job

  def progress(self, job: Job) -> JobProgress:
    """Returns how far a request is.

    One request is drawn at a time, so the steps that its sampler has begun since it left the queue
    are its own.
    """
    with self._lock:
      ahead = self._jobs.index(job) if job in self._jobs else 0
    before = job.before
    counts = job.servable.step_counts(job.signature) if before and not job.future.done() else None
    if not before or not counts:
      return JobProgress(ahead)
    # Another request may be drawn by now.
    step = min(max(counts.begun - before.begun, 1), counts.steps)
    return JobProgress(ahead, step, counts.steps)

  def close(self) -> None:
    """Waits for the request that is drawn, and cancels the others."""
    self._worker.shutdown(wait=True, cancel_futures=True)

  def require_shape(self, name: str, shape: Sequence[int], spec: tf.TensorSpec) -> None:
    """Raises a `RequestError` unless an input has a valid shape.

    Args:
      name: the name of the input.
      shape: the shape of the received array.
      spec: the input of the signature.
    """
    if not shape or not spec.shape.is_compatible_with(shape):
      sizes = ", ".join("N" if size is None else str(size) for size in spec.shape) or "N, ..."
      raise errors.invalid_argument(name, f"the shape [{sizes}]", list(shape))
    if not 1 <= shape[0] <= self.max_batch:
      raise errors.invalid_argument("inputs", f"1 to {self.max_batch} images", shape[0])

  def _draw(
    self, job: Job, arrays: Mapping[str, np.ndarray], outputs: Collection[str]
  ) -> dict[str, np.ndarray]:
    # A cancelled request keeps its place until it leaves the queue: otherwise clients that come
    # and go could fill the memory.
    try:
      if job.is_cancelled.is_set():
        raise errors.cancelled()
      job.before = job.servable.step_counts(job.signature)
      return job.servable.run(job.signature, arrays, outputs)
    except tf.errors.InvalidArgumentError as error:
      raise errors.from_graph(error) from None
    except tf.errors.ResourceExhaustedError as error:
      raise errors.RequestError("RESOURCE_EXHAUSTED", str(error).splitlines()[0]) from None
    finally:
      with self._lock:
        self._jobs.remove(job)
      self._places.release()

  def _arrays(
    self, specs: Mapping[str, tf.TensorSpec], inputs: Mapping[str, Any]
  ) -> dict[str, np.ndarray]:
    """Returns the inputs as arrays of the types and shapes of a signature."""
    if set(inputs) == {""} and len(specs) == 1:
      inputs = {next(iter(specs)): inputs[""]}
    if set(inputs) != set(specs):
      raise errors.invalid_argument(
        "inputs", ", ".join(sorted(specs)), ", ".join(sorted(inputs)) or "none"
      )
    arrays = {}
    for name, spec in specs.items():
      value = inputs[name]
      is_array = isinstance(value, np.ndarray)
      # The shape is checked before an array is made, because a short text can be a large array.
      self.require_shape(name, value.shape if is_array else _shape(value), spec)
      arrays[name] = value if is_array else _from_lists(name, value, spec)
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
      raise errors.invalid_argument("inputs", "the same number of each", counts)
    return arrays


def _shape(value: Any) -> list[int]:
  """Returns the shape of nested lists, from the first element of each list."""
  shape = []
  while isinstance(value, list):
    shape.append(len(value))
    value = value[0] if value else None
  return shape


def _from_lists(name: str, value: Any, spec: tf.TensorSpec) -> np.ndarray:
  """Returns nested lists as an array of a given type, because JSON has no types.

  Raises:
    RequestError: a value is not of the type, or the lists have different lengths.
  """
  dtype = spec.dtype
  kinds = (int, float) if dtype.is_floating else int

  def is_valid(value: Any, shape: Sequence[int]) -> bool:
    if not shape:
      return isinstance(value, kinds) and dtype.min <= value <= dtype.max
    return (
      isinstance(value, list)
      and len(value) == shape[0]
      and all(is_valid(element, shape[1:]) for element in value)
    )

  if not (dtype.is_integer or dtype.is_floating) or not is_valid(value, _shape(value)):
    numbers = f"integers from {dtype.min} to {dtype.max}" if dtype.is_integer else "numbers"
    raise errors.invalid_argument(
      name, f"{numbers} in nested lists of equal lengths", reprlib.repr(value)
    )
  return np.array(value, dtype.as_numpy_dtype)
