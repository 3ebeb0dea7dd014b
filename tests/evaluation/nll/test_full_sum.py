"""The bound with every term, of any arrays."""

import numpy as np
import pytest

from iddpm_tf import settings
from iddpm_tf.data.records import reading
from iddpm_tf.evaluation.nll import full_sum
from iddpm_tf.utils import progress as progress_lib

SILENT = progress_lib.Silent()


class CountingBar(progress_lib.Silent):
  """Counts what a bar of progress shows."""

  total, done = 0, 0

  def bar(self, *, total, unit, **_):
    assert unit == "step"
    self.total = total
    return self

  def update(self, n=1):
    self.done += n

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass


def test_an_image_has_its_own_noise_in_every_batch(evaluator, test_split):
  images, labels = test_split.images[:5], test_split.labels[:5]
  together = evaluator.bits_per_dim(images, labels, progress=SILENT)
  assert together.total.shape == (5,) and together.terms.shape == (5, 25)
  np.testing.assert_allclose(together.total, together.prior + together.terms.sum(axis=1), rtol=1e-5)
  in_batches = evaluator.bits_per_dim(images, labels, batch_size=2, progress=SILENT)
  np.testing.assert_allclose(in_batches.total, together.total, rtol=1e-4)
  # The count takes the first images, and no other is read.
  first = evaluator.bits_per_dim(
    test_split.images, test_split.labels, count=3, batch_size=2, progress=SILENT
  )
  np.testing.assert_allclose(first.total, together.total[:3], rtol=1e-4)
  other = evaluator.bits_per_dim(images, labels, seed=1, progress=SILENT)
  assert np.all(np.abs(other.total - together.total) > 1e-4)


def test_few_images_are_evaluated_at_several_timesteps_at_a_time(evaluator, test_split):
  images, labels = test_split.images[:3], test_split.labels[:3]
  one_by_one = evaluator.bits_per_dim(images, labels, batch_size=3, progress=SILENT)
  for batch_size in (6, 12, 1000):
    bar = CountingBar()
    together = evaluator.bits_per_dim(images, labels, batch_size=batch_size, progress=bar)
    for ours, expected in zip(together, one_by_one, strict=True):
      np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
    assert bar.total == bar.done == {6: 13, 12: 7, 1000: 1}[batch_size]


def test_images_on_the_disk_are_evaluated_like_arrays(evaluator, test_split):
  images, labels = test_split.images[:4], test_split.labels[:4].tolist()
  records = reading.RecordImages([images[:3], images[3:]], (8, 8, 1))
  np.testing.assert_array_equal(
    evaluator.bits_per_dim(records, labels, progress=SILENT).total,
    evaluator.bits_per_dim(images, np.array(labels, np.uint8), progress=SILENT).total,
  )


def test_labels_matter(evaluator, test_split):
  images, labels = test_split.images[:4], test_split.labels[:4]
  right = evaluator.bits_per_dim(images, labels, progress=SILENT)
  wrong = evaluator.bits_per_dim(images, (labels + 1) % 10, progress=SILENT)
  assert np.all(right.total != wrong.total)


def test_other_weights_need_no_other_trace(model, evaluator, test_split):
  images, labels = test_split.images[:2], test_split.labels[:2]
  before = evaluator.bits_per_dim(images, labels, progress=SILENT)
  kernel = model.network.out_conv.kernel
  value = kernel.value.numpy()
  try:
    kernel.assign(1.5 * value)
    after = evaluator.bits_per_dim(images, labels, progress=SILENT)
  finally:
    kernel.assign(value)
  assert np.all(after.total != before.total)
  assert evaluator._function.experimental_get_tracing_count() == 1


def test_progress_counts_evaluations_of_the_network(evaluator, test_split):
  bar = CountingBar()
  images, labels = test_split.images[:5], test_split.labels[:5]
  evaluator.bits_per_dim(images, labels, batch_size=3, progress=bar)
  assert bar.total == bar.done == 2 * 25


def test_wrong_arrays_are_refused(evaluator, test_split):
  images, labels = test_split.images[:16], test_split.labels[:16]
  for wrong, message in (
    (
      (images / np.float32(255), labels),
      r"images: expected uint8 \[N, 8, 8, 1\], received float32",
    ),
    ((images[:, :4], labels), r"images: .*received uint8 \[16, 4, 8, 1\]"),
    ((images, None), r"labels: expected integers from 0 to 9, one per image \[16\], received none"),
    ((images, labels[:3]), r"labels: .*received int32 \[3\]"),
    ((images, labels + 1), "labels: expected classes from 0 to 9, received 10"),
  ):
    with pytest.raises(settings.InputError, match=message):
      evaluator.batches(*wrong, progress=SILENT)


def test_the_choice_of_timesteps(model):
  diffusion = model.config.diffusion
  assert full_sum.respaced_diffusion(diffusion).num_timesteps == 25
  strided = full_sum.respaced_diffusion(diffusion, 5, "strided")
  assert strided.process.timestep_map.tolist() == [0, 6, 12, 18, 24]
  dense = full_sum.respaced_diffusion(diffusion, 5)
  assert dense.process.timestep_map.tolist() == [0, 1, 2, 3, 4, 6, 12, 18, 24]
  with pytest.raises(settings.InputError, match=r"nll_steps: expected at most the model's 25"):
    full_sum.respaced_diffusion(diffusion, 26)
  with pytest.raises(settings.InputError, match="nll_schedule: expected one of dense_start, str"):
    full_sum.respaced_diffusion(diffusion, 5, "dense")


def test_the_mean_and_its_standard_error():
  values = np.array([1.0, 2.0, 4.0], np.float32)
  mean, stderr = full_sum.mean_and_stderr(values)
  assert mean == pytest.approx(7 / 3) and stderr == pytest.approx(np.std(values, ddof=1) / 3**0.5)
  assert full_sum.mean_and_stderr(values[:1]) == (1.0, None)
