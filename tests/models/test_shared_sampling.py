"""Images that are drawn into files, by one process or by several together: those of one call."""

import numpy as np
import pytest

from iddpm_tf.diffusion.samplers import base
from iddpm_tf.models import batched_sampling
from iddpm_tf.models import seeds as seeds_lib
from iddpm_tf.models import shared_sampling
from iddpm_tf.utils import cluster
from iddpm_tf.utils import progress as progress_lib

SILENT = progress_lib.Silent()
SAMPLER = base.parse("ancestral:5")


def workers(number):
  return cluster.Cluster(("a:1", "b:1"), number, "test")


@pytest.fixture(name="drawn", autouse=True)
def fixture_drawn(monkeypatch, ancestral):
  """The numbers of images in the batches that are drawn, all by one traced sampler."""
  drawn, each_of = [], ancestral.each_of

  def counted(batches, count, **options):
    for images in each_of(batches, count, **options):
      drawn.append(len(images))
      yield images

  monkeypatch.setattr(ancestral, "each_of", counted)
  monkeypatch.setattr(batched_sampling, "BatchedSampler", lambda *_: ancestral)
  return drawn


def share(folder, number, inputs, progress=SILENT):
  """Returns what one of two workers has; `number` is None for a process that is alone."""
  cluster_of = None if number is None else workers(number)
  return shared_sampling.SharedSampling(
    folder, inputs, batch_size=4, workers=cluster_of, progress=progress
  )


def images_of(drawn):
  return np.concatenate(list(drawn.batches()))


def test_the_images_are_those_of_one_process(model, ancestral, drawn, tmp_path, recorder):
  inputs = seeds_lib.make_inputs(10, seed=3, labels=[1, 2], num_classes=10)
  expected = ancestral.draw(inputs, batch_size=4, progress=SILENT)
  drawn.clear()
  share(tmp_path, 1, inputs).draw(model, SAMPLER)
  assert drawn == [4]
  chief = share(tmp_path, 0, inputs, recorder)
  images = chief.draw(model, SAMPLER)
  np.testing.assert_array_equal(images_of(images), expected)
  np.testing.assert_array_equal(images.first(6), expected[:6])
  np.testing.assert_array_equal(images.first(20), expected)
  assert images.shape == expected.shape
  assert drawn == [4, 4, 2] and any("x_0" in line for line in recorder.lines)
  chief.clear()
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("numbers", [(1, 0), (None,)])
def test_what_was_drawn_is_not_drawn_again(model, drawn, tmp_path, numbers):
  inputs = seeds_lib.make_inputs(8, num_classes=10)
  for number in numbers:
    share(tmp_path, number, inputs).draw(model, SAMPLER)
  drawn.clear()
  again = share(tmp_path, numbers[-1], inputs)
  assert images_of(again.draw(model, SAMPLER)).shape == (8, 8, 8, 1)
  assert drawn == []
  again.clear()
  assert list(tmp_path.iterdir()) == []


def test_other_inputs_or_another_model_have_other_batches(model, tmp_path):
  def name(seed=0, labels=None, sampler=SAMPLER, count=4):
    inputs = seeds_lib.make_inputs(count, seed=seed, labels=labels, num_classes=10)
    return share(tmp_path, 0, inputs).draw(model, sampler).name

  names = [
    name(),
    name(seed=1),
    name(labels=[3]),
    name(sampler=base.parse("ddim:5")),
    name(count=3),
  ]
  kernel = model.network.out_conv.kernel
  value = kernel.value.numpy()
  try:
    kernel.assign(1.5 * value)
    names.append(name())
  finally:
    kernel.assign(value)
  assert len(set(names)) == len(names) and name() == names[0]


def test_a_worker_enlarges_the_images_that_it_has_drawn(model, ancestral, tmp_path, monkeypatch):
  inputs = seeds_lib.make_inputs(10, num_classes=10)
  small = {}
  for number in (1, 0):
    small[number] = share(tmp_path, number, inputs).draw(model, SAMPLER)
  expected, received = images_of(small[0]), []

  def each_of(batches, count, *, progress):
    """Returns the images that it is to enlarge."""
    del count, progress
    for inputs in batches:
      received.append(inputs["seed"].tolist())
      yield inputs["low_res"]

  monkeypatch.setattr(ancestral, "each_of", each_of)
  for number in (1, 0):
    large = share(tmp_path, number, inputs).draw(model, SAMPLER, enlarged=small[number])
  np.testing.assert_array_equal(images_of(large), expected)
  assert received == [[4, 5, 6, 7], [0, 1, 2, 3], [8, 9]]
