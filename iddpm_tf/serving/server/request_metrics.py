"""The number of requests for images and how long they took, as text for Prometheus.

The names, labels and buckets are those of TensorFlow Serving's `servables/tensorflow/util.cc`, so
that its dashboards and alerts work with this server.
"""

import bisect
import collections
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import itertools
import threading
import time

from iddpm_tf.serving.server import errors
from iddpm_tf.serving.server import model_manager

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REST, GRPC = "REST", "GRPC"
_COUNT = ":tensorflow:serving:request_count"
_LATENCY = ":tensorflow:serving:request_latency"
_API = {REST: "predict", GRPC: "Predict"}  # TensorFlow Serving writes them so.
# Microseconds. The last bound is 25 minutes.
_BOUNDS = [10 * 1.8**exponent for exponent in range(33)]


class _Histogram:
  """The latencies of one model by one interface, in microseconds."""

  def __init__(self) -> None:
    self.counts = [0] * (len(_BOUNDS) + 1)  # The last bucket has no bound.
    self.total = 0

  def add(self, latency: int) -> None:
    self.counts[bisect.bisect_left(_BOUNDS, latency)] += 1
    self.total += latency


class RequestMetrics:
  """Counts the requests of all interfaces.

  Only models that exist are counted: otherwise clients could fill the memory with names.
  """

  def __init__(self, models: model_manager.ModelManager):
    """Makes the metrics, without any request.

    Args:
      models: knows which models exist.
    """
    self._models = models
    self._lock = threading.Lock()
    # {(model, status): number of requests}
    self._requests: collections.Counter[tuple[str, str]] = collections.Counter()
    # {(model, interface): latencies}, of requests that succeeded.
    self._latencies: dict[tuple[str, str], _Histogram] = collections.defaultdict(_Histogram)

  @contextlib.contextmanager
  def measured(self, model: str, interface: str) -> Iterator[None]:
    """Counts a request, which the block answers.

    Args:
      model: the name of the requested model.
      interface: `REST` or `GRPC`.
    """
    start, status = time.perf_counter(), "INTERNAL"
    try:
      yield
      status = "OK"
    except errors.RequestError as error:
      status = error.grpc_code
      raise
    finally:
      self._add(model, interface, status, round((time.perf_counter() - start) * 1e6))

  def _add(self, model: str, interface: str, status: str, latency: int) -> None:
    if not self._models.knows(model):
      return
    with self._lock:
      self._requests[model, status] += 1
      if status == "OK":
        self._latencies[model, interface].add(latency)

  def text(self) -> str:
    """Returns the metrics in the text format 0.0.4 of Prometheus."""
    with self._lock:
      requests = sorted(self._requests.items())
      latencies = [
        (key, list(histogram.counts), histogram.total)
        for key, histogram in sorted(self._latencies.items())
      ]
    lines = [f"# HELP {_COUNT} The total number of requests.", f"# TYPE {_COUNT} counter"]
    for (model, status), count in requests:
      lines.append(_sample(_COUNT, {"model_name": model, "status": status}, count))
    lines += [
      f"# HELP {_LATENCY} Distribution of the time of requests that succeeded, in microseconds.",
      f"# TYPE {_LATENCY} histogram",
    ]
    for (model, interface), counts, total in latencies:
      labels = {"model_name": model, "API": _API[interface], "entrypoint": interface}
      bounds = [*(f"{bound:g}" for bound in _BOUNDS), "+Inf"]
      for bound, count in zip(bounds, itertools.accumulate(counts)):
        lines.append(_sample(f"{_LATENCY}_bucket", {**labels, "le": bound}, count))
      lines.append(_sample(f"{_LATENCY}_sum", labels, total))
      lines.append(_sample(f"{_LATENCY}_count", labels, sum(counts)))
    return "\n".join(lines) + "\n"


def _sample(name: str, labels: Mapping[str, str], value: int) -> str:
  pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
  return f"{name}{{{pairs}}} {value}"


def _escaped(text: str) -> str:
  return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
