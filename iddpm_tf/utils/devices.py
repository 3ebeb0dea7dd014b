"""The devices that a process runs on."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import functools
import os
import re

import numpy as np
import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.utils import cluster as cluster_lib


def make_strategy(kind: str = "auto") -> tf.distribute.Strategy:
  """Returns the strategy of this process. For each kind, it is always the same one.

  Args:
    kind: one of `cluster.STRATEGIES`. `one_device` and `mirrored` take one or all GPUs, or logical
      CPUs where there is none. `multi_worker` takes those of all processes that the environment
      describes, and must be made before TensorFlow has run anything. `tpu` takes the TPU of this
      machine. `auto` is `multi_worker` where the environment describes several processes, otherwise
      `mirrored`, or `one_device` where there is one device: the numbers are the same, and graphs
      are traced in four fifths of the time.

  Raises:
    InputError: there is no such kind, or the environment does not fit it.
  """
  workers = cluster_lib.for_strategy(kind)
  if workers:
    return _multi_worker(workers)
  if kind == "tpu":
    return _tpu()
  return local_strategy(kind)


def local_strategy(kind: str = "auto") -> tf.distribute.Strategy:
  """Returns the strategy of this machine alone.

  Args:
    kind: `mirrored`, `one_device`, or `auto`; see `make_strategy`.
  """
  for gpu in tf.config.list_physical_devices("GPU"):
    try:
      tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:
      break  # The GPUs are in use already.
  devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
  names = tuple(device.name for device in devices)
  return _strategy(names[:1] if kind == "one_device" else names, kind == "mirrored")


# A second strategy on the same devices would use the collective operations of the first one, which
# fails if their tensors have other shapes.
@functools.cache
def _strategy(devices: tuple[str, ...], mirrored: bool) -> tf.distribute.Strategy:
  """Returns the strategy of this process for some devices."""
  if len(devices) == 1 and not mirrored:
    return tf.distribute.OneDeviceStrategy(devices[0])
  return tf.distribute.MirroredStrategy(devices)


@functools.cache
def _multi_worker(workers: cluster_lib.Cluster) -> tf.distribute.Strategy:
  """Returns the strategy of this process as one of several workers; waits for the others."""
  os.environ["TF_CONFIG"] = workers.tf_config()
  try:
    return tf.distribute.MultiWorkerMirroredStrategy()
  except (RuntimeError, tf.errors.OpError) as error:
    reason = settings.first_line(error)
    raise settings.InputError(
      workers.source,
      f"expected {len(workers.workers)} workers that find each other, of which this is "
      f"{workers.workers[workers.number]}; {reason}",
    ) from None


@functools.cache
def _tpu() -> tf.distribute.Strategy:
  """Returns the strategy over the TPU of this machine."""
  try:
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
    tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
  except (ValueError, RuntimeError, tf.errors.OpError) as error:
    reason = settings.first_line(error)
    message = (
      f"expected a machine with a TPU and TensorFlow's build for it, received none ({reason})"
    )
    raise settings.InputError("strategy", message) from None
  return tf.distribute.TPUStrategy(resolver)


# What TensorFlow raises where a worker waits for one that has ended.
_LOST = (
  tf.errors.UnavailableError,
  tf.errors.AbortedError,
  tf.errors.CancelledError,
  tf.errors.DeadlineExceededError,
  tf.errors.InternalError,
  tf.errors.UnknownError,
)


class LostWorkerError(settings.InputError):
  """Says that another process of the training has ended. The restarted job continues."""

  exit_status = 5


class Workers:
  """The processes that train together, which have to agree on what they do next.

  Attributes:
    count: the number of processes.
    index: the number of this one.
  """

  def __init__(self, strategy: tf.distribute.Strategy):
    """Finds out which worker of a strategy this process is.

    Args:
      strategy: the devices. Only a `MultiWorkerMirroredStrategy` has several workers.
    """
    self.count, self.index = 1, 0
    resolver = strategy.cluster_resolver
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and resolver:
      jobs = resolver.cluster_spec().as_dict()
      chiefs = len(jobs.get("chief", ()))
      self.count = chiefs + len(jobs.get("worker", ()))
      self.index = resolver.task_id + (0 if resolver.task_type == "chief" else chiefs)
    replicas = max(1, strategy.num_replicas_in_sync // self.count)

    @tf.function(autograph=False)
    def add(value):
      def replica():
        context = tf.distribute.get_replica_context()
        # The copy is on the device of the replica.
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(value))

      values = strategy.experimental_local_results(strategy.run(replica))
      return values[0] // replicas

    self._add = add

  @property
  def is_chief(self) -> bool:
    """Whether this process writes the files of a run."""
    return self.index == 0

  @contextlib.contextmanager
  def watched(self) -> Iterator[None]:
    """Raises `LostWorkerError` if another worker ends while the block needs it."""
    try:
      yield
    except _LOST as error:
      if self.count == 1:
        raise
      lines = [line for line in str(error).splitlines() if line.strip()]
      tasks = re.findall(r"/task:(\d+)", str(error))
      if not tasks and "ollective" not in str(error):
        raise  # A fault of this process, such as data that cannot be read.
      which = f"worker {tasks[-1]}" if tasks else "another one"
      cause = next((line for line in lines if "abort" in line or "/task:" in line), lines[0])
      raise LostWorkerError(
        f"worker {self.index}",
        f"expected {self.count} workers until the end, and lost {which} ({cause[:200]}); the "
        "restarted job continues from the newest checkpoint",
      ) from error

  def from_chief(self, value: int) -> int:
    """Returns the chief's value; in all workers at the same time."""
    if self.count == 1:
      return value
    return int(self._add(tf.constant(value if self.is_chief else 0, tf.int64)))

  def any(self, value: bool) -> bool:
    """Returns whether the value is true in a worker; in all workers at the same time."""
    return value if self.count == 1 else bool(self._add(tf.constant(int(value), tf.int64)))


def is_on_gpu(strategy: tf.distribute.Strategy) -> bool:
  """Returns whether a strategy runs on GPUs."""
  return ":GPU:" in strategy.extended.worker_devices[0].upper()


def is_on_cpu(strategy: tf.distribute.Strategy) -> bool:
  """Returns whether a strategy computes on CPUs only."""
  return all(":CPU:" in device.upper() for device in strategy.extended.worker_devices)


def describe(strategy: tf.distribute.Strategy) -> str:
  """Returns the devices of a strategy in words, such as `on 1 GPU: NVIDIA H100`."""
  devices = strategy.extended.worker_devices
  if not is_on_gpu(strategy):
    replicas = f" in {len(devices)} replicas" if len(devices) > 1 else ""
    return f"on the CPU{replicas}: {_why_no_gpu()}"
  names = []
  for gpu in tf.config.list_physical_devices("GPU"):
    details = tf.config.experimental.get_device_details(gpu)
    names.append(details.get("device_name", "unknown GPU"))
  kinds = ", ".join(dict.fromkeys(names))
  return f"on {len(devices)} GPU{'s' if len(devices) > 1 else ''}: {kinds}"


def _why_no_gpu() -> str:
  if not tf.test.is_built_with_cuda():
    return "this build of TensorFlow has no CUDA"
  return "no GPU was found (an NVIDIA GPU requires the extra cuda: pip install 'iddpm_tf[cuda]')"


def over_replicas(
  strategy: tf.distribute.Strategy, function: Callable[..., tf.Tensor]
) -> Callable[..., np.ndarray]:
  """Returns `function` of arrays, run on an equal part of them in each replica.

  The results are joined, as NumPy arrays.
  """
  replicas = strategy.num_replicas_in_sync

  # Under `strategy.run`, a `tf.function` with a signature does not take a replica's share.
  def plain(*own):
    return function(*own)

  @tf.function(autograph=False)
  def run_everywhere(*shares):
    return strategy.run(plain, args=shares)

  def run_one(*arrays):
    return function(*arrays).numpy()

  def run(*arrays):
    if len(arrays[0]) < replicas:  # Some replica would have nothing to do.
      return run_one(*arrays)
    parts = [np.array_split(array, replicas) for array in arrays]
    shares = [
      strategy.experimental_distribute_values_from_function(
        lambda context, part=part: tf.constant(part[context.replica_id_in_sync_group])
      )
      for part in parts
    ]
    results = strategy.experimental_local_results(run_everywhere(*shares))
    return np.concatenate([result.numpy() for result in results])

  return run if replicas > 1 else run_one
