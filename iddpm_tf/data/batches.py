"""Batches for training, in an order that depends on the seed and the step only."""

import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.data import arrays
from iddpm_tf.data import images as images_lib
from iddpm_tf.data import sources


def training_batches(
  source: sources.Source,
  *,
  batch_size: int,
  seed: int,
  first_step: int = 0,
  random_flip: bool = False,
  worker: int = 0,
  num_workers: int = 1,
) -> tf.data.Dataset:
  """Returns an endless dataset of one worker's part of each batch, from batch `first_step` on.

  Each epoch is a permutation of the data. A batch may span two epochs, so that no image is left
  out. Batch `step` is the same wherever the dataset begins, and the workers' parts, joined, are the
  batch of a single worker. A resumed run therefore continues as if it had never stopped, on any
  number of machines.

  Args:
    source: the images and their labels.
    batch_size: the number of images per step, over all workers.
    seed: the seed of the order and of the flips.
    first_step: the step of the first batch.
    random_flip: whether each image is mirrored with probability 1/2.
    worker: the index of this worker's part of each batch.
    num_workers: the number of equal parts.

  Returns:
    Batches `{"image": float32 [B / num_workers, H, W, C] in [-1, 1], "label": int32 [B /
    num_workers]}`.

  Raises:
    InputError: the source holds fewer images than a batch.
  """
  count = len(source.images)
  if count < batch_size:
    raise settings.InputError(
      "batch_size",
      f"expected at most {count}, the number of images of {source.name}, received {batch_size}",
    )
  labels = tf.constant(source.labels)
  part_size = batch_size // num_workers
  part = slice(worker * part_size, (worker + 1) * part_size)

  def make_batch(step: tf.Tensor) -> dict[str, tf.Tensor]:
    position = (step * batch_size + tf.range(batch_size, dtype=tf.int64))[part]
    epoch, index = position // count, position % count
    # A batch touches at most two epochs.
    seeds = tf.stack([_shuffle_seed(seed, epoch[0]), _shuffle_seed(seed, epoch[0] + 1)])  # [2, 3]
    # tf.random.experimental.index_shuffle calls this operation, but does not take one seed per
    # index.
    index = tf.raw_ops.RandomIndexShuffle(
      index=index,
      seed=tf.gather(seeds, epoch - epoch[0]),
      max_index=tf.constant(count - 1, tf.int64),
    )
    image = _read(source.images, index)
    if random_flip:
      # [B, 1, 1, 1] -> [B / num_workers, 1, 1, 1]
      mirrored = (
        tf.random.stateless_uniform([batch_size, 1, 1, 1], [seed, step], alg="philox")[part] < 0.5
      )
      image = tf.where(mirrored, tf.reverse(image, axis=[2]), image)
    return {"image": images_lib.to_unit_range(image), "label": tf.gather(labels, index)}

  steps = tf.data.Dataset.range(first_step, tf.int64.max)
  return steps.map(make_batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _read(images: arrays.Images, index: tf.Tensor) -> tf.Tensor:
  """Returns uint8 [B, H, W, C] for int64 [B]. It calls Python, because images may be in files."""
  image = tf.numpy_function(lambda index: images[index], [index], tf.uint8, stateful=False)
  return tf.ensure_shape(image, [index.shape[0], *images.shape[1:]])


def _shuffle_seed(seed: int, epoch: tf.Tensor) -> tf.Tensor:
  """Returns a well-mixed seed, int32 [3].

  The shuffle's few rounds hardly shuffle with seeds as small as the seed and the epoch themselves.
  """
  key = tf.random.experimental.stateless_fold_in(tf.constant([seed, 0], tf.int64), epoch)
  return tf.random.stateless_uniform(
    [3], key, minval=None, maxval=None, dtype=tf.int32, alg="philox"
  )
