"""Batches: permutations of the data, in an order that depends on the seed and the step only."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.data.batches import training_batches
from iddpm_tf.data.sources import Source


def source_of(count):
  """Returns images whose left half has the grey level label + 1, and whose right half is black."""
  labels = np.arange(count, dtype=np.int32)
  images = np.zeros([count, 4, 6, 3], np.uint8)
  images[:, :, :3] = labels[:, None, None, None] + 1
  return Source("numbered", images, labels, count)


def take(batches, count):
  return list(batches.take(count).as_numpy_iterator())


def labels_of(count, batch_size, batches, seed=0, first_step=0):
  dataset = training_batches(
    source_of(count), batch_size=batch_size, seed=seed, first_step=first_step
  )
  return np.stack([batch["label"] for batch in take(dataset, batches)])


def flipped(batch):
  return batch["image"][:, 0, 0, 0] < batch["image"][:, 0, -1, 0]


@pytest.mark.parametrize(
  "count, batch_size", [(1, 1), (2, 1), (12, 4), (12, 12), (10, 4), (7, 3), (100, 9)]
)
def test_every_epoch_is_a_permutation(count, batch_size):
  """This holds where a batch spans two epochs, too."""
  stream = labels_of(count, batch_size, -(-5 * count // batch_size)).ravel()[: 5 * count]
  for epoch in stream.reshape(5, count):
    np.testing.assert_array_equal(np.sort(epoch), np.arange(count))


def test_epochs_have_different_orders():
  epochs = labels_of(20, 20, 10)
  assert len({tuple(epoch) for epoch in epochs}) == 10


@pytest.mark.parametrize("count", [50, 1437])
@pytest.mark.parametrize("seed", [0, 1, 2, 7])
def test_no_epoch_keeps_the_order_of_the_data(count, seed):
  for order in labels_of(count, count, 10, seed=seed):
    # A random order keeps one image in its place on average, and ten in one of ten million epochs.
    assert np.sum(order == np.arange(count)) < 10
    assert abs(np.corrcoef(order, np.arange(count))[0, 1]) < 5.5 / np.sqrt(count)


def test_every_image_is_as_likely_anywhere_in_an_epoch():
  epochs = labels_of(5, 5, 1500)
  for place in range(5):
    # 300 expected, with a deviation of 15.5.
    assert np.all(np.abs(np.bincount(epochs[:, place], minlength=5) - 300) < 78)
  follows = np.mean((epochs[:, 1:] - epochs[:, :-1]) % 5 == 1)
  assert abs(follows - 0.25) < 0.03  # Each of the four others is as likely to come next.


@pytest.mark.parametrize("random_flip", [False, True])
@pytest.mark.parametrize("step", [3, 17])
def test_starting_at_a_step_is_skipping_to_it(step, random_flip):
  options = {"batch_size": 4, "seed": 3, "random_flip": random_flip}
  whole = take(training_batches(source_of(10), **options), step + 4)
  resumed = take(training_batches(source_of(10), first_step=step, **options), 4)
  for batch, expected in zip(resumed, whole[step:], strict=True):
    for key in ("image", "label"):
      np.testing.assert_array_equal(batch[key], expected[key])


def test_the_order_depends_on_the_seed():
  first, again, other = (labels_of(50, 10, 5, seed=seed) for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert np.any(first != other)


@pytest.mark.parametrize("first_step, seed", [(10**9, 0), (10**14, 0), (0, 2**40)])
def test_steps_and_seeds_may_be_large(first_step, seed):
  labels = labels_of(10, 10, 2, seed=seed, first_step=first_step)
  for epoch in labels:
    np.testing.assert_array_equal(np.sort(epoch), np.arange(10))


def test_large_seeds_differ_in_their_order():
  orders = {labels_of(50, 50, 1, seed=seed).tobytes() for seed in (0, 1, 2**32, 2**32 + 1, 2**40)}
  assert len(orders) == 5


def test_batches_are_floats_in_the_network_s_range_with_their_labels():
  source = source_of(8)
  source.images[0] = 255
  dataset = training_batches(source, batch_size=8, seed=0)
  assert dataset.element_spec == {
    "image": tf.TensorSpec([8, 4, 6, 3], tf.float32),
    "label": tf.TensorSpec([8], tf.int32),
  }
  (batch,) = take(dataset, 1)
  np.testing.assert_allclose(batch["image"], source.images[batch["label"]] / 127.5 - 1, atol=1e-6)
  assert batch["image"].min() == -1 and batch["image"].max() == 1


def test_flips_mirror_about_half_of_the_images_and_keep_their_labels():
  source = source_of(100)
  batches = take(training_batches(source, batch_size=50, seed=0, random_flip=True), 20)
  mirrored = np.concatenate([flipped(batch) for batch in batches])
  assert abs(mirrored.mean() - 0.5) < 0.08  # Five standard deviations, for 1000 images.
  for batch in batches:
    assert 0 < flipped(batch).sum() < 50  # Each image on its own, not the whole batch.
    upright = np.where(
      flipped(batch)[:, None, None, None], batch["image"][:, :, ::-1], batch["image"]
    )
    np.testing.assert_allclose(upright, source.images[batch["label"]] / 127.5 - 1, atol=1e-6)


def test_flips_differ_between_epochs():
  batches = take(training_batches(source_of(20), batch_size=20, seed=0, random_flip=True), 8)
  by_label = np.stack([flipped(batch)[np.argsort(batch["label"])] for batch in batches])
  # Eight fair coins fall alike once in 128 times.
  assert np.mean(by_label.any(axis=0) & ~by_label.all(axis=0)) > 0.8


def test_nothing_is_mirrored_by_default_and_the_order_is_the_same():
  plain, flips = (
    take(training_batches(source_of(20), batch_size=20, seed=0, **options), 3)
    for options in ({}, {"random_flip": True})
  )
  for without, with_flips in zip(plain, flips, strict=True):
    assert not flipped(without).any()
    np.testing.assert_array_equal(without["label"], with_flips["label"])


def test_workers_parts_joined_are_the_batch_of_one_worker():
  options = {"batch_size": 6, "seed": 3, "random_flip": True}
  whole = take(training_batches(source_of(10), **options), 5)
  parts = [
    take(training_batches(source_of(10), worker=worker, num_workers=3, **options), 5)
    for worker in range(3)
  ]
  for batch, *own in zip(whole, *parts, strict=True):
    for name, value in batch.items():
      np.testing.assert_array_equal(value, np.concatenate([part[name] for part in own]))


def test_images_may_be_anything_that_numpy_can_index():
  class Squares:
    shape, dtype = (100, 2, 2, 1), np.uint8

    def __len__(self):
      return 100

    def __getitem__(self, index):
      return np.broadcast_to(index[:, None, None, None], (len(index), 2, 2, 1)).astype(np.uint8)

  batches = training_batches(
    Source("squares", Squares(), np.arange(100, dtype=np.int32), 100), batch_size=50, seed=0
  )
  for batch in take(batches, 2):
    np.testing.assert_allclose(batch["image"][:, 0, 0, 0], batch["label"] / 127.5 - 1, atol=1e-6)


def test_fewer_images_than_a_batch_are_refused():
  with pytest.raises(
    settings.InputError, match=r"^batch_size: expected at most 10, .* numbered, received 11$"
  ):
    training_batches(source_of(10), batch_size=11, seed=0)
