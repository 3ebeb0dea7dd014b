"""Versions that appear, disappear and are copied in part, while the server runs."""

import gc
import json
import shutil
import threading
import time
import types
import weakref

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.serving.server import errors
from iddpm_tf.serving.server import loaded_servable
from iddpm_tf.serving.server import model_manager
from iddpm_tf.utils import progress as progress_lib

SEED = tf.TensorSpec([None], tf.int64, name="seed")


class Lines(progress_lib.Silent):
  """Keeps the lines of a progress."""

  def __init__(self):
    self.lines = []

  def say(self, text):
    self.lines.append(text)


def lines(models):
  return models._progress.lines


def save(folder, value, **inputs):
  """Saves a model whose pixels are all `value`. It has further inputs besides the seed."""
  module = tf.Module()
  module.value = tf.Variable(value)
  signature = [SEED, *inputs.values()]
  image = tf.function(
    lambda seed, *_: {"image": module.value * tf.ones([tf.size(seed), 2, 2, 1], tf.int32)},
    input_signature=signature,
  )
  tf.saved_model.save(module, folder, {"serving_default": image, "png_ddim_2": image})
  return folder


@pytest.fixture(name="versions", scope="module")
def fixture_versions(tmp_path_factory):
  """The folders of versions 1 and 2."""
  folder = tmp_path_factory.mktemp("versions")
  return {number: save(folder / str(number), number) for number in (1, 2)}


@pytest.fixture(name="models")
def fixture_models(tmp_path):
  models = model_manager.ModelManager(tmp_path, progress=Lines())
  yield models
  models.stop()


def drawn(models):
  return models.get("m").run("", {"seed": np.zeros(1, np.int64)})["image"].max()


def states(models):
  return {version: state.name for version, state in models.states("m").items()}


def test_requests_are_estimated_by_earlier_ones(models, versions, tmp_path, monkeypatch):
  shutil.copytree(versions[1], tmp_path / "m/1")
  models.update()
  model, clock = models.get("m"), iter([0, 90, 100, 108, 200, 206])
  times = types.SimpleNamespace(monotonic=lambda: next(clock))
  monkeypatch.setattr(loaded_servable, "time", times)
  for count in (4, 4, 2):
    assert model.estimated_seconds("", count) == (8 / 4 * 2 if count == 2 else None)
    model.run("", {"seed": np.zeros(count, np.int64)})
  # The first request, of 90 s, prepared the graph.
  assert [model.estimated_seconds("", count) for count in (1, 2, 4, 8)] == [3, 6, 8, 16]
  assert model.estimated_seconds("serving_default", 4) == 8
  assert model.estimated_seconds("png_ddim_2", 4) is None
  with pytest.raises(errors.RequestError, match="signature_name: expected one of"):
    model.estimated_seconds("ddim_3", 4)


def test_the_newest_existing_version_is_served(models, versions, tmp_path):
  shutil.copytree(versions[1], tmp_path / "m/1")
  models.update()
  assert drawn(models) == 1 and states(models) == {1: "AVAILABLE"}
  shutil.copytree(versions[2], tmp_path / "m/2")
  models.update()
  assert drawn(models) == 2 and states(models) == {2: "AVAILABLE", 1: "END"}
  with pytest.raises(errors.RequestError, match="version: expected 2"):
    models.get("m", 1)
  shutil.rmtree(tmp_path / "m/2")
  models.update()
  assert drawn(models) == 1 and states(models) == {2: "END", 1: "AVAILABLE"}
  shutil.rmtree(tmp_path / "m")
  models.update()
  assert models.all() == [] and states(models) == {2: "END", 1: "END"}
  with pytest.raises(
    errors.RequestError, match="expected an exported model, but there is none yet"
  ):
    models.get("m")
  assert "no longer served" in lines(models)[-1]


def test_a_version_that_is_copied_in_part_is_served_once_it_is_complete(models, versions, tmp_path):
  shutil.copytree(versions[1], tmp_path / "m/1")
  models.update()
  shutil.copytree(
    versions[2], tmp_path / "m/2", ignore=lambda folder, names: {"variables"} & set(names)
  )
  models.update()
  assert (
    drawn(models) == 1
    and models.states("m")[2].error
    and states(models) == {2: "END", 1: "AVAILABLE"}
  )
  count = len(lines(models))
  models.update()  # It has not changed, and is not tried again.
  assert len(lines(models)) == count
  shutil.copytree(versions[2] / "variables", tmp_path / "m/2/variables")
  models.update()
  assert drawn(models) == 2 and not models.states("m")[2].error


def test_a_version_is_freed_after_its_last_request(models, versions, tmp_path):
  shutil.copytree(versions[1], tmp_path / "m/1")
  models.update()
  held = models.get("m")
  gone = weakref.ref(held)
  session = weakref.ref(held._session)
  shutil.copytree(versions[2], tmp_path / "m/2")
  models.update()
  assert (
    held.run("", {"seed": np.zeros(3, np.int64)})["image"].tolist()
    == np.ones([3, 2, 2, 1]).tolist()
  )
  del held
  gc.collect()
  assert gone() is None and session() is None and drawn(models) == 2


@pytest.mark.parametrize(
  "config", ["[]", "{", "null", json.dumps({"version": 3, "network": [], "data": 5})]
)
def test_a_model_of_another_program_is_served(models, versions, tmp_path, config):
  shutil.copytree(versions[1], tmp_path / "m/1")
  (tmp_path / "m/1/assets.extra").mkdir()
  (tmp_path / "m/1/assets.extra/config.json").write_text(config)
  models.update()
  assert models.get("m").description() == {
    "name": "m",
    "version": 1,
    "samplers": ["ddim_2"],
    "low_res": [],
    "frames": 0,
    "edit_samplers": [],
    "interpolating_samplers": [],
    "image_shape": [],
    "scales": {},
    "classes": 0,
    "class_names": [],
  }


def test_the_page_knows_the_images_that_a_model_enlarges(models, tmp_path):
  save(tmp_path / "m/1", 1, low_res=tf.TensorSpec([None, 4, 4, 1], tf.uint8, name="low_res"))
  config = config_lib.Config(data=config_lib.DataConfig(image_shape=(8, 8, 1), num_classes=10))
  (tmp_path / "m/1/assets.extra").mkdir()
  (tmp_path / "m/1/assets.extra/config.json").write_text(config.to_json())
  models.update()
  description = models.get("m").description()
  assert (description["samplers"], description["low_res"]) == (["ddim_2"], [4, 4, 1])
  assert models.get("m").signatures == ["png_ddim_2", "serving_default"]


def test_the_page_ignores_other_outputs_called_frames(models, tmp_path):
  module = tf.Module()
  module.value = tf.Variable(1.0)
  function = tf.function(
    lambda seed: {"frames": module.value * tf.cast(seed, tf.float32)}, input_signature=[SEED]
  )
  tf.saved_model.save(
    module, tmp_path / "m/1", {"serving_default": function, "a_trajectory": function}
  )
  models.update()
  assert models.get("m").description()["frames"] == 0


def test_the_watch_continues_after_an_error(models, versions, tmp_path, monkeypatch):
  update, calls = models.update, []

  def update_or_fail():
    calls.append(len(calls))
    if len(calls) == 1:
      raise RuntimeError("no")
    update()

  monkeypatch.setattr(models, "update", update_or_fail)
  shutil.copytree(versions[1], tmp_path / "m/1")
  models.watch(0.01)
  deadline = time.monotonic() + 30
  while not models.all():
    assert time.monotonic() < deadline
    time.sleep(0.01)
  models.stop()
  assert not models._watch.is_alive() and "RuntimeError: no" in lines(models)[0]


def test_requests_during_the_first_update_are_asked_to_come_again(
  models, versions, tmp_path, monkeypatch
):
  update, may_load, loaded = models.update, threading.Event(), threading.Event()

  def update_later():
    assert may_load.wait(30)
    update()

  monkeypatch.setattr(models, "update", update_later)
  shutil.copytree(versions[1], tmp_path / "m/1")
  models.watch(60, loaded.set)
  for ask in (models.get, models.states):
    with pytest.raises(errors.RequestError, match="are being loaded") as error:
      ask("m")
    assert error.value.http_status == 503
  assert not loaded.is_set() and not models.knows("m")
  may_load.set()
  assert loaded.wait(30)
  assert drawn(models) == 1 and models.knows("m") and not models.knows("n")
  with pytest.raises(errors.RequestError, match="expected one of m") as error:
    models.get("n")
  assert error.value.http_status == 404


def test_no_further_model_is_loaded_after_a_stop(models, versions, tmp_path):
  for name in ("m", "n"):
    shutil.copytree(versions[1], tmp_path / name / "1")
  load, names = models._load, []

  def load_and_stop(name, *arguments):
    names.append(name)
    models._stopped.set()
    return load(name, *arguments)

  models._load = load_and_stop
  models.watch(0.01, lambda: names.append("loaded"))
  models._watch.join(30)
  assert names == ["m"]


def test_folders_with_other_names_are_not_versions(models, versions, tmp_path):
  for name in (".3-abc", "03", "latest", "-1", "²", "9" * 40):
    shutil.copytree(versions[1], tmp_path / "m" / name)
  models.update()
  assert models.all() == []


def test_a_closed_output_does_not_stop_the_server(versions, tmp_path):
  class Closed(progress_lib.Silent):
    def say(self, text):
      raise BrokenPipeError

  shutil.copytree(versions[1], tmp_path / "m/1")
  models = model_manager.ModelManager(tmp_path, progress=Closed())
  models.update()
  assert drawn(models) == 1
