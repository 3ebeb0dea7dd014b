"""Which devices a command runs on."""

import numpy as np
import tensorflow as tf

from iddpm_tf import settings


def make_strategy():
  """`MirroredStrategy` over all GPUs, or over the (logical) CPUs where there is none."""
  for gpu in tf.config.list_physical_devices("GPU"):
    try:
      tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:
      break  # Already in use.
  devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
  return tf.distribute.MirroredStrategy([device.name for device in devices])


def images_a_part(strategy, options):
  """Images of a replica's microbatch; `ValueError` unless that is the same number in all. Of a `TrainingConfig`."""
  replicas, batch_size, parts = (
    strategy.num_replicas_in_sync,
    options.batch_size,
    options.microbatches,
  )
  if batch_size % replicas:
    raise settings.InputError(
      "batch_size",
      f"expected a multiple of {replicas}, the number of replicas, received {batch_size}",
    )
  if batch_size // replicas % parts:
    raise settings.InputError(
      "microbatches",
      f"expected a divisor of {batch_size // replicas}, the images that each of "
      f"{replicas} replicas has of --batch_size={batch_size}, received {parts}",
    )
  return batch_size // replicas // parts


def over_replicas(strategy, function):
  """`function` of arrays, run on an even part of them in each replica; its results, joined, as NumPy."""
  replicas = strategy.num_replicas_in_sync

  # As plain functions: a `tf.function` with a signature cannot be given a replica's share.
  @tf.function(autograph=False)
  def everywhere(*shares):
    return strategy.run(lambda *own: function(*own), args=shares)

  def run(*arrays):
    if len(arrays[0]) < replicas:  # A replica would have nothing to do.
      return function(*arrays).numpy()
    parts = [np.array_split(array, replicas) for array in arrays]
    shares = [
      strategy.experimental_distribute_values_from_function(
        lambda context, part=part: tf.constant(part[context.replica_id_in_sync_group])
      )
      for part in parts
    ]
    results = strategy.experimental_local_results(everywhere(*shares))
    return np.concatenate([result.numpy() for result in results])

  return run if replicas > 1 else lambda *arrays: function(*arrays).numpy()
