"""The devices that a process runs on."""

from collections.abc import Callable
import functools

import numpy as np
import tensorflow as tf


def make_strategy() -> tf.distribute.Strategy:
  """Returns a strategy over all GPUs, or over the (logical) CPUs where there is none.

  It is a `MirroredStrategy`, or a `OneDeviceStrategy` where there is one device: the numbers are
  the same, and graphs are traced in four fifths of the time. It is always the same one.
  """
  for gpu in tf.config.list_physical_devices("GPU"):
    try:
      tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:
      break  # The GPUs are in use already.
  devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
  return _strategy(tuple(device.name for device in devices))


# A second strategy on the same devices would use the collective operations of the first one, which
# fails if their tensors have other shapes.
@functools.cache
def _strategy(devices: tuple[str, ...]) -> tf.distribute.Strategy:
  """Returns the strategy of this process for some devices."""
  if len(devices) == 1:
    return tf.distribute.OneDeviceStrategy(devices[0])
  return tf.distribute.MirroredStrategy(devices)


def is_on_gpu(strategy: tf.distribute.Strategy) -> bool:
  """Returns whether a strategy runs on GPUs."""
  return ":GPU:" in strategy.extended.worker_devices[0].upper()


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
