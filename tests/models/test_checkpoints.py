"""Checkpoints: saving, restoring, damage, and the best one."""

import errno
import os

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import networks
from iddpm_tf import settings
from iddpm_tf.models import checkpoints as checkpoints_lib
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.training import state as state_lib
from tests import small_model


def make_content(value=0.0):
  return tf.train.Checkpoint(weight=tf.Variable(value))


def open_folder(folder, value=0.0, keep=None):
  content = make_content(value)
  return checkpoints_lib.Checkpoints(content, folder, keep), content


def test_the_newest_checkpoint_is_restored(tmp_path):
  checkpoints, content = open_folder(tmp_path / "new")
  assert checkpoints.newest() is None and checkpoints.restore() == 0
  for step in (5, 10):
    content.weight.assign(step)
    checkpoints.save(step)
  other, restored = open_folder(tmp_path / "new", -1.0)
  assert other.newest() == str(tmp_path / "new/step-10")
  assert other.restore() == 10 and float(restored.weight) == 10
  assert other.restore(step=5) == 5 and float(restored.weight) == 5


def test_old_checkpoints_are_deleted(tmp_path):
  checkpoints, _ = open_folder(tmp_path, keep=2)
  for step in (1, 2, 3):
    checkpoints.save(step)
  assert model_dir_lib.ModelDir.checkpoint_steps(tmp_path) == {2, 3}
  # What killed processes leave.
  (tmp_path / "step-9_temp").mkdir()
  (tmp_path / "step-9.data-00000-of-00001").touch()
  checkpoints.delete_others(3)
  assert model_dir_lib.ModelDir.checkpoint_steps(tmp_path) == {3}
  checkpoints.sweep()
  assert sorted(path.name for path in tmp_path.iterdir()) == [
    "checkpoint",
    "step-3.data-00000-of-00001",
    "step-3.index",
  ]


def test_checkpoints_of_multiples_are_kept(tmp_path):
  checkpoints = checkpoints_lib.Checkpoints(make_content(), tmp_path, keep=1, keep_every=10)
  for step in (5, 10, 15, 20, 25):
    checkpoints.save(step)
  assert model_dir_lib.ModelDir.checkpoint_steps(tmp_path) == {10, 20, 25}
  assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "step-25")


def test_a_whole_checkpoint_that_the_list_does_not_name_counts(tmp_path):
  checkpoints, _ = open_folder(tmp_path)
  checkpoints.save(5)
  listed = (tmp_path / "checkpoint").read_text()
  checkpoints.save(10)
  (tmp_path / "checkpoint").write_text(listed)
  checkpoints, _ = open_folder(tmp_path)
  assert checkpoints.restore() == 10
  # A part of a checkpoint does not count.
  (tmp_path / "step-10.data-00000-of-00001").unlink()
  checkpoints, _ = open_folder(tmp_path)
  assert checkpoints.restore() == 5


def truncate(folder):
  os.truncate(folder / "step-10.data-00000-of-00001", 3)


def flip_a_byte(folder):
  path = folder / "step-10.data-00000-of-00001"
  content = bytearray(path.read_bytes())
  content[2] ^= 1
  path.write_bytes(content)


def empty_the_index(folder):
  (folder / "step-10.index").write_bytes(b"")


def lose_the_index(folder):
  (folder / "step-10.index").unlink()


def lose_the_data(folder):
  (folder / "step-10.data-00000-of-00001").unlink()


def lose_both(folder):
  lose_the_index(folder)
  lose_the_data(folder)


DAMAGES = (truncate, flip_a_byte, empty_the_index, lose_the_index, lose_the_data, lose_both)


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_checkpoint_before_a_damaged_one_is_restored(tmp_path, damage, recorder):
  checkpoints, content = open_folder(tmp_path)
  for step in (5, 10):
    content.weight.assign(step)
    checkpoints.save(step)
  damage(tmp_path)
  checkpoints, content = open_folder(tmp_path)
  with pytest.raises(settings.InputError, match="step-10: expected a whole checkpoint, received a"):
    checkpoints.restore(strict=True)
  with pytest.raises(settings.InputError, match="step-10: expected a whole checkpoint, received a"):
    checkpoints.restore(step=10)
  assert checkpoints.restore() == 5 and float(content.weight) == 5
  checkpoints_lib.say_skipped(checkpoints, 5, recorder)
  (line,) = recorder.lines
  assert line.startswith(f"note: {tmp_path}/step-10 is damaged (")
  assert line.endswith("); continuing from step 5")
  checkpoints.set_aside_skipped()
  checkpoints, _ = open_folder(tmp_path)
  assert checkpoints.restore(strict=True) == 5 and not checkpoints.skipped
  assert model_dir_lib.ModelDir.checkpoint_steps(tmp_path) == {5}


def test_if_all_checkpoints_are_damaged_nothing_is_restored(tmp_path):
  checkpoints, _ = open_folder(tmp_path)
  checkpoints.save(10)
  truncate(tmp_path)
  with pytest.raises(settings.InputError, match="step-10: expected a whole checkpoint"):
    open_folder(tmp_path)[0].restore()


def test_a_list_that_is_garbage_does_not_matter(tmp_path):
  checkpoints, _ = open_folder(tmp_path)
  checkpoints.save(10)
  for garbage in (b"\xff\xfe\x00", b"{", b"", b'all_model_checkpoint_paths: "step-x"'):
    (tmp_path / "checkpoint").write_bytes(garbage)
    assert open_folder(tmp_path)[0].restore() == 10


def test_another_model_is_refused(tmp_path):
  checkpoints, _ = open_folder(tmp_path)
  checkpoints.save(5)
  other = tf.train.Checkpoint(weight=tf.Variable(0.0), more=tf.Variable(0.0))
  message = "step-5: expected a checkpoint of this model, received another one"
  with pytest.raises(settings.InputError, match=message):
    checkpoints_lib.Checkpoints(other, tmp_path).restore()
  wrong_shape = tf.train.Checkpoint(weight=tf.Variable([0.0, 1.0]))
  with pytest.raises(settings.InputError, match=message):
    checkpoints_lib.Checkpoints(wrong_shape, tmp_path).restore()


def test_numbers_that_are_not_finite_are_not_saved(tmp_path):
  checkpoints, content = open_folder(tmp_path)
  checkpoints.save(5)
  content.weight.assign(np.nan)
  with pytest.raises(
    checkpoints_lib.SaveError, match=r"expected finite numbers, received .*weight"
  ):
    checkpoints.save(10)
  assert open_folder(tmp_path)[0].restore() == 5


def test_a_full_disk_is_one_line_and_leaves_the_checkpoints_before(tmp_path, monkeypatch):
  checkpoints, _ = open_folder(tmp_path, 5.0, keep=1)
  checkpoints.save(5)

  def fill(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  with monkeypatch.context() as patch:
    patch.setattr(os, "fsync", fill)
    message = r"^checkpoint of step 10: expected a folder that can be written, .*No space left"
    with pytest.raises(checkpoints_lib.SaveError, match=message):
      checkpoints.save(10)
  assert [path.name for path in tmp_path.glob("*.index")] == ["step-5.index"]
  assert not list(tmp_path.glob(".*"))
  assert checkpoints.restore() == 5
  checkpoints.save(10)
  assert checkpoints.newest() == str(tmp_path / "step-10")


def test_what_is_saved_in_the_background_is_the_state_of_before(tmp_path):
  state = state_lib.TrainState(small_model.make_config(timestep_sampler="loss_second_moment"))
  state.step.assign(3)
  checkpoints = checkpoints_lib.Checkpoints(state, tmp_path / "background")
  saved = []
  before = state.weights.variable.numpy()
  checkpoints.save_in_background(3, saved.append)
  for values in (state.weights, state.optimizer.momentum, *state.averages.averages):
    # As training does: in place, if nothing else holds the array.
    tf.raw_ops.ResourceApplyGradientDescent(
      var=values.handle, alpha=tf.constant(1.0), delta=tf.ones(values.layout.flat_shape)
    )
  state.step.assign(4)
  state.timestep_sampler.counts.assign_add(tf.ones_like(state.timestep_sampler.counts))
  checkpoints.wait()
  assert saved == [str(tmp_path / "background/step-3")]
  assert checkpoints.restore() == 3
  np.testing.assert_array_equal(state.weights.variable, before)
  np.testing.assert_array_equal(state.averages.averages[0].variable, before)
  assert not np.any(state.optimizer.momentum.variable)
  assert int(state.step) == 3 and not np.any(state.timestep_sampler.counts)
  checkpoints_lib.Checkpoints(state, tmp_path / "now").save(3)
  background, now = (
    tf.train.list_variables(str(tmp_path / name / "step-3")) for name in ("background", "now")
  )
  assert background == now


def test_more_than_the_content_is_refused_unless_it_is_allowed(tmp_path):
  whole = tf.train.Checkpoint(weight=tf.Variable(3.0), more=tf.Variable(0.0))
  checkpoints_lib.Checkpoints(whole, tmp_path).save(5)
  checkpoints, content = open_folder(tmp_path)
  with pytest.raises(settings.InputError, match="expected a checkpoint of this model"):
    checkpoints.restore()
  assert checkpoints.restore(partial=True) == 5 and float(content.weight) == 3


def test_a_state_is_restored_also_from_the_first_version(tmp_path):
  """Checkpoints of version 1 have no `moments_start`, which is then 0."""
  config = small_model.make_config()
  state = state_lib.TrainState(config)
  state.step.assign(3)
  old = state.checkpoint(["averages/0..9/", "averages/0..5/"])
  checkpoints_lib.Checkpoints(old, tmp_path / "old").save(3)
  state.optimizer.moments_start.assign(2)
  checkpoints_lib.Checkpoints(state, tmp_path / "new").save(3)
  for name, moments_start in (("new", 2), ("old", 0)):
    restored = state_lib.TrainState(config)
    assert checkpoints_lib.Checkpoints(restored, tmp_path / name).restore() == 3
    assert int(restored.step) == 3
    assert int(restored.optimizer.moments_start) == moments_start


def test_a_checkpoint_without_a_rate_begins_its_averages_at_the_weights(model_dir):
  """A run resumed with one more rate and in other arithmetic continues from the same numbers."""
  folder = model_dir_lib.ModelDir(model_dir)
  config = folder.require_config().with_settings(ema=(0.999, 0.9, 0.5), precision="mixed_bfloat16")
  state = state_lib.TrainState(config)
  checkpoints = checkpoints_lib.Checkpoints(state, folder.checkpoints)
  assert checkpoints.restore() == small_model.STEP
  average, others = state.averages.at_rate(0.999), state.averages.at_rate(0.9)
  for value, weight, other in zip(average.read(), state.weights.read(), others.read(), strict=True):
    np.testing.assert_array_equal(value, weight)
    assert np.any(value != other)
  network = networks.build_network(config)
  message = r"^ema: expected a rate that .*step-10 holds \(0\.5, 0\.9, or 0\), received 0\.999"
  with pytest.raises(settings.InputError, match=message):
    checkpoints_lib.restore_network(network, folder.checkpoints, 0.999)


def test_a_network_takes_the_raw_or_averaged_weights(model_dir):
  folder = model_dir_lib.ModelDir(model_dir)
  config = folder.require_config()
  kernels = {}
  for ema in (0, 0.9, 0.5):
    network = networks.build_network(config)
    assert checkpoints_lib.restore_network(network, folder.checkpoints, ema) == small_model.STEP
    kernels[ema] = network.out_conv.kernel.numpy()
  reader = tf.train.load_checkpoint(str(folder.checkpoints))
  saved = [
    reader.get_tensor(name)
    for name, shape in reader.get_variable_to_shape_map().items()
    if name.startswith("network/") and tuple(shape) == kernels[0].shape
  ]
  assert any(np.array_equal(value, kernels[0]) for value in saved)
  assert np.any(kernels[0] != kernels[0.9]) and np.any(kernels[0.9] != kernels[0.5])


def test_a_folder_without_checkpoint_is_refused(tmp_path):
  network = networks.build_network(small_model.make_config())
  message = f"^model_dir: expected a model with a checkpoint, received {tmp_path}, which holds none"
  with pytest.raises(settings.InputError, match=message):
    checkpoints_lib.restore_network(network, tmp_path, 0.9)


def test_variables_are_named_by_their_paths():
  network = networks.build_network(small_model.make_config())
  variables = checkpoints_lib.variables_by_path(network)
  assert len(variables) == len(network.trainable_variables)
  assert all(name.startswith("unet/") for name in variables)


def test_the_best_checkpoint_is_chosen_by_the_direction_of_its_score(tmp_path):
  folder = model_dir_lib.ModelDir(tmp_path)

  def offer(score, *values, step=1, count=70):
    candidates = [
      model_dir_lib.Best(score, value, step, float(rate), {"num_samples": count})
      for rate, value in enumerate(values)
    ]
    return checkpoints_lib.keep_if_better(candidates, make_content(), folder)

  assert offer("fid", 3.0, 2.0) and folder.read_best().ema == 1
  assert not offer("fid", 2.0) and not offer("fid", 2.5)
  assert offer("fid", 1.5, 1.9) and folder.read_best().ema == 0
  # Another score begins anew, and a larger recall is better.
  assert offer("recall_k3", 0.2) and offer("recall_k3", 0.1, 0.3)
  assert not offer("recall_k3", 0.25) and folder.read_best().value == 0.3
  # A score that was measured in another way begins anew.
  assert offer("recall_k3", 0.1, count=7) and not offer("recall_k3", 0.05, count=7)
  # A best checkpoint of a later step does not count in a run that has not reached the step.
  assert offer("recall_k3", 0.2, count=7, step=5) and offer("recall_k3", 0.1, count=7, step=4)
  # Values that are not finite are ignored.
  assert not offer("recall_k3", float("nan"), count=7, step=6)
  assert folder.read_best().value == 0.1
  assert offer("recall_k3", float("nan"), 0.3, count=7, step=6)
  assert folder.read_best().value == 0.3
  assert folder.checkpoint_steps(folder.best_checkpoints) == {6}
