"""Samples that are kept on the disk."""

import dataclasses
import os
import resource
import time
import types

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.diffusion.samplers import ddim
from iddpm_tf.evaluation import sample_store
from iddpm_tf.models import batched_sampling
from iddpm_tf.models import seeds as seeds_lib
from iddpm_tf.utils import cluster
from iddpm_tf.utils import progress as progress_lib
from iddpm_tf.utils import shared_batches

SILENT = progress_lib.Silent()


@pytest.fixture(name="sampler", scope="module")
def fixture_sampler(model):
  """A sampler of the model whose graph is traced once."""
  return batched_sampling.BatchedSampler(model, ddim.DDIM(2))


@pytest.fixture(name="drawn", autouse=True)
def fixture_drawn(monkeypatch, sampler):
  """A list of the numbers of images in the batches that stores draw, by the sampler above."""
  drawn = []
  each_of = sampler.each_of

  def counted(*arguments, **options):
    for images in each_of(*arguments, **options):
      drawn.append(len(images))
      yield images

  monkeypatch.setattr(sampler, "each_of", counted)
  monkeypatch.setattr(batched_sampling, "BatchedSampler", lambda model, _: sampler)
  return drawn


@pytest.fixture(name="store")
def fixture_store(model, tmp_path):
  """An empty store."""
  return sample_store.SampleStore(tmp_path, model, ddim.DDIM(2))


def test_samples_are_those_of_their_seeds_and_labels(sampler, store):
  images = store.draw(10, batch_size=4, progress=SILENT)
  inputs = seeds_lib.make_inputs(10, num_classes=10)
  np.testing.assert_array_equal(images[:], sampler.draw(inputs, batch_size=10, progress=SILENT))
  assert store.folder.name.startswith("step_7_ema_0.9_ddim_2_")


def test_a_stopped_evaluation_continues_and_a_larger_one_begins_with_it(store, drawn):
  first = store.draw(24, batch_size=8, progress=SILENT)[:]
  assert drawn == [8, 8, 8]
  files = {path.name: path.read_bytes() for path in store.folder.iterdir()}
  # A killed process leaves a batch that it had not begun.
  os.unlink(store.folder / "00000016.npy")
  (store.folder / "00000008.npy").write_bytes(files["00000008.npy"][:-50])
  drawn.clear()
  more = store.draw(40, batch_size=8, progress=SILENT)
  assert drawn == [8, 8, 8, 8] and len(more) == 40
  assert {name: (store.folder / name).read_bytes() for name in files} == files
  drawn.clear()
  fewer = store.draw(19, batch_size=8, progress=SILENT)
  assert not drawn and len(fewer) == 19
  np.testing.assert_array_equal(fewer[:], first[:19])


@pytest.mark.parametrize(
  "damage",
  [
    lambda data: data[:60] + b" " + data[61:],
    lambda data: data[:-9],
    lambda data: b"",
    lambda data: data.replace(b")", b" "),
  ],
)
def test_a_damaged_file_is_drawn_again(store, damage):
  path = store.folder / "00000000.npy"
  store.draw(3, batch_size=3, progress=SILENT)
  before = path.read_bytes()
  path.write_bytes(damage(before))
  store.draw(3, batch_size=3, progress=SILENT)
  assert path.read_bytes() == before


def test_other_weights_have_other_samples(model, store, tmp_path):
  """The step does not distinguish a run from one that was started anew in its folder."""
  before = store.draw(4, batch_size=4, progress=SILENT)[:]
  kernel = model.network.out_conv.kernel
  value = kernel.value.numpy()
  try:
    kernel.assign(1.5 * value)
    other = sample_store.SampleStore(tmp_path, model, ddim.DDIM(2))
    assert np.any(other.draw(4, batch_size=4, progress=SILENT)[:] != before)
  finally:
    kernel.assign(value)
  assert other.folder != store.folder
  assert sample_store.SampleStore(tmp_path, model, ddim.DDIM(2)).folder == store.folder


def test_the_folder_depends_on_everything_that_the_samples_depend_on(model, tmp_path):
  def folder(model, **options):
    sampler = options.pop("sampler", ddim.DDIM(2))
    return sample_store.SampleStore(tmp_path, model, sampler, **options).folder

  def classifier(weight):
    return types.SimpleNamespace(num_classes=10, variables=[tf.Variable(weight)])

  def with_settings(**values):
    return dataclasses.replace(model, config=model.config.with_settings(**values))

  folders = [
    folder(model),
    folder(model, sampler=ddim.DDIM(3)),
    folder(model, first_seed=1 << 32),
    folder(dataclasses.replace(model, step=8)),
    folder(dataclasses.replace(model, ema=0.5)),
    folder(dataclasses.replace(model, ends=model, end_steps=2)),
    folder(with_settings(clip_denoised=False)),
    folder(with_settings(dynamic_threshold=0.995)),
    folder(with_settings(truncate=True)),
    folder(with_settings(variance_type="learned")),
    folder(with_settings(precision="mixed_bfloat16")),
    folder(with_settings(label_dropout=0.1, guidance_scale=2.0)),
    folder(with_settings(label_dropout=0.1, guidance_scale=2.0, guidance_interval=(0.5, 3.0))),
    folder(dataclasses.replace(model, classifier=classifier(0.0))),
    folder(dataclasses.replace(model, classifier=classifier(1.0))),
    folder(dataclasses.replace(with_settings(classifier_scale=2.0), classifier=classifier(1.0))),
  ]
  assert len(set(folders)) == len(folders)


def test_there_may_be_more_files_than_a_process_may_open(store):
  limits = resource.getrlimit(resource.RLIMIT_NOFILE)
  few = len(os.listdir("/proc/self/fd")) + 40
  store.draw(1, batch_size=1, progress=SILENT)
  image = np.load(store.folder / "00000000.npy")
  for position in range(1, 64):
    np.save(store.folder / f"{position:08d}.npy", image)
  try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, limits[1]))
    images = store.draw(64, batch_size=1, progress=SILENT)
    assert images[:].shape == (64, 8, 8, 1)
  finally:
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def workers(number):
  return cluster.Cluster(("a:1", "b:1", "c:1"), number, "test")


def test_workers_divide_the_batches(model, store, drawn, tmp_path):
  alone = sample_store.SampleStore(tmp_path / "alone", model, ddim.DDIM(2))
  expected = alone.draw(18, batch_size=4, progress=SILENT)[:]
  drawn.clear()
  for number in (1, 2):
    assert store.draw(18, batch_size=4, progress=SILENT, workers=workers(number)) is None
  assert drawn == [4, 2, 4]  # Batches 1 and 4, the last of which is smaller, and batch 2.
  images = store.draw(18, batch_size=4, progress=SILENT, workers=workers(0))
  assert drawn == [4, 2, 4, 4, 4]
  np.testing.assert_array_equal(images[:], expected)
  names = [sorted(path.name for path in each.folder.iterdir()) for each in (store, alone)]
  assert names[0] == names[1]


def test_the_chief_may_have_nothing_left_to_draw(store, drawn, monkeypatch):
  """It was stopped while it waited for the others."""
  store.draw(4, batch_size=4, progress=SILENT)
  for number in (1, 2):
    store.draw(12, batch_size=4, progress=SILENT, workers=workers(number))
  drawn.clear()
  path, kept = store.folder / "00000004.npy", store.folder / "kept"
  path.rename(kept)
  # The other worker is finished during the first pause.
  clock = types.SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: kept.rename(path))
  monkeypatch.setattr(shared_batches, "time", clock)
  images = store.draw(12, batch_size=4, progress=SILENT, workers=workers(0))
  assert len(images) == 12 and drawn == []


def test_samples_of_a_base_are_drawn_first_by_all_workers(
  model, store, drawn, monkeypatch, tmp_path
):
  """The network takes no small images here, and draws as without them."""
  monkeypatch.setattr(shared_batches, "_PATIENCE", 0.0)
  monkeypatch.setattr(shared_batches, "_POLL_SECONDS", 0.01)
  asked = []
  draw = store.draw
  monkeypatch.setattr(
    store, "draw", lambda *args, **options: asked.append(options) or draw(*args, **options)
  )
  enlarged = sample_store.SampleStore(tmp_path, model, ddim.DDIM(3), base=store)
  for number in (1, 2, 0):
    images = enlarged.draw(10, batch_size=4, progress=SILENT, workers=workers(number))
    assert (images is None) == (number > 0)
  assert len(images) == 10 and len(list(store.folder.iterdir())) == 3
  assert all(options["for_all"] for options in asked)
  # Batches of both are missing.
  for folder in (store.folder, enlarged.folder):
    os.unlink(folder / "00000004.npy")
  drawn.clear()
  again = enlarged.draw(10, batch_size=4, progress=SILENT)
  np.testing.assert_array_equal(again[:], images[:])
  assert drawn == [4, 4] and len(list(store.folder.iterdir())) == 3
  other = sample_store.SampleStore(tmp_path, model, ddim.DDIM(3))
  assert other.folder != enlarged.folder


def test_the_chief_draws_what_a_lost_worker_does_not(store, drawn, monkeypatch, recorder):
  monkeypatch.setattr(shared_batches, "_PATIENCE", 0.0)
  monkeypatch.setattr(shared_batches, "_POLL_SECONDS", 0.01)
  images = store.draw(12, batch_size=4, progress=recorder, workers=workers(0))
  assert len(images) == 12 and drawn == [4, 4, 4]
  assert sum("no worker has made a batch" in line for line in recorder.lines) == 2
