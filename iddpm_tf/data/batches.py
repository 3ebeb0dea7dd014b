"""Batches for training, in an order that is a function of (seed, step) alone."""

import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.data import images as images_lib


def training_batches(
  source, *, batch_size, seed, first_step=0, random_flip=False, worker=0, num_workers=1
):
  """An endless `tf.data.Dataset` of one worker's part of the batches of step `first_step` and on.

  Each epoch is a permutation of the data; a batch may span two epochs, so no image is ever left out. Batch
  `step` is the same wherever the data set starts, and the workers' parts, joined, are the batch of one
  worker alone: a resumed run goes on as if it had never stopped, on any number of machines.

  Args:
    source: a `Source`.
    batch_size: images a step, over all workers.
    seed: of the order, and of the flips.
    first_step: the step of the first batch.
    random_flip: whether each image is mirrored with probability 1/2.
    worker: which of the `num_workers` equal parts of each batch.
    num_workers: how many.

  Returns:
    Batches `{"image": float32 [B / num_workers, H, W, C] in [-1, 1], "label": int32 [B / num_workers]}`.

  Raises:
    ValueError: the source holds fewer images than a batch.
  """
  count = len(source.images)
  if count < batch_size:
    raise settings.InputError(
      "batch_size", f"expected at most {count}, the images of {source.name}, received {batch_size}"
    )
  labels = tf.constant(source.labels)
  share = batch_size // num_workers
  own = slice(worker * share, (worker + 1) * share)

  def batch_of(step):
    position = (step * batch_size + tf.range(batch_size, dtype=tf.int64))[own]
    epoch, index = position // count, position % count
    # A batch touches two epochs at most.
    seeds = tf.stack([_shuffle_seed(seed, epoch[0]), _shuffle_seed(seed, epoch[0] + 1)])  # [2, 3]
    # The operation beneath tf.random.experimental.index_shuffle, which refuses a seed for each index.
    index = tf.raw_ops.RandomIndexShuffle(
      index=index,
      seed=tf.gather(seeds, epoch - epoch[0]),
      max_index=tf.constant(count - 1, tf.int64),
    )
    image = _read(source.images, index)
    if random_flip:
      mirrored = (
        tf.random.stateless_uniform([batch_size, 1, 1, 1], [seed, step], alg="philox")[own] < 0.5
      )
      image = tf.where(mirrored, tf.reverse(image, axis=[2]), image)
    return {"image": images_lib.to_unit_range(image), "label": tf.gather(labels, index)}

  steps = tf.data.Dataset.range(first_step, tf.int64.max)
  return steps.map(batch_of, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _read(images, index):
  """uint8 [B, H, W, C] of int64 [B]; in Python, since the images may be files."""
  image = tf.numpy_function(lambda index: images[index], [index], tf.uint8, stateful=False)
  return tf.ensure_shape(image, [index.shape[0], *images.shape[1:]])


def _shuffle_seed(seed, epoch):
  """int32 [3], well mixed: the shuffle's own few rounds hardly shuffle by seeds as small as these."""
  key = tf.random.experimental.stateless_fold_in(tf.constant([seed, 0], tf.int64), epoch)
  return tf.random.stateless_uniform(
    [3], key, minval=None, maxval=None, dtype=tf.int32, alg="philox"
  )
