"""Versions that come, go, and are half copied, as the development server keeps them."""

import gc
import json
import shutil
import time
import weakref

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.serving.server import errors
from iddpm_tf.serving.server import models as models_lib

SEED = tf.TensorSpec([None], tf.int64, name="seed")


def save(folder, value, **inputs):
  """A SavedModel whose images are all `value`; of inputs beside the seed, if any: {name: `tf.TensorSpec`}."""
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
  """{number: its folder}."""
  folder = tmp_path_factory.mktemp("versions")
  return {number: save(folder / str(number), number) for number in (1, 2)}


@pytest.fixture(name="models")
def fixture_models(tmp_path):
  said = []
  models = models_lib.Models(tmp_path, say=said.append)
  models.said = said
  return models


def drawn(models):
  return models.get("m").run("", {"seed": np.zeros(1, np.int64)})["image"].max()


def states(models):
  return {version: state.name for version, state in models.states("m").items()}


def test_the_newest_that_is_there_is_served(models, versions, tmp_path):
  shutil.copytree(versions[1], tmp_path / "m/1")
  models.update()
  assert drawn(models) == 1 and states(models) == {1: "AVAILABLE"}
  shutil.copytree(versions[2], tmp_path / "m/2")
  models.update()
  assert drawn(models) == 2 and states(models) == {2: "AVAILABLE", 1: "END"}
  with pytest.raises(errors.Refused, match="version: expected 2"):
    models.get("m", 1)
  shutil.rmtree(tmp_path / "m/2")
  models.update()
  assert drawn(models) == 1 and states(models) == {2: "END", 1: "AVAILABLE"}
  shutil.rmtree(tmp_path / "m")
  models.update()
  assert models.all() == [] and states(models) == {2: "END", 1: "END"}
  with pytest.raises(errors.Refused, match="expected one of none yet"):
    models.get("m")
  assert "no longer served" in models.said[-1]


def test_a_version_that_is_half_copied_is_served_once_it_is_whole(models, versions, tmp_path):
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
  count = len(models.said)
  models.update()  # Not tried again as it is.
  assert len(models.said) == count
  shutil.copytree(versions[2] / "variables", tmp_path / "m/2/variables")
  models.update()
  assert drawn(models) == 2 and not models.states("m")[2].error


def test_a_version_goes_from_memory_with_its_last_request(models, versions, tmp_path):
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
def test_a_model_without_a_config_of_ours_is_served_all_the_same(
  models, versions, tmp_path, config
):
  shutil.copytree(versions[1], tmp_path / "m/1")
  (tmp_path / "m/1/assets.extra").mkdir()
  (tmp_path / "m/1/assets.extra/config.json").write_text(config)
  models.update()
  assert models.get("m").described() == {
    "name": "m",
    "version": 1,
    "samplers": ["ddim_2"],
    "frames": 0,
    "classes": 0,
  }


def test_what_enlarges_images_is_not_offered_to_draw(models, tmp_path):
  save(tmp_path / "m/1", 1, low_res=tf.TensorSpec([None, 4, 4, 1], tf.uint8, name="low_res"))
  config = config_lib.Config(data=config_lib.DataConfig(image_shape=(8, 8, 1), num_classes=10))
  (tmp_path / "m/1/assets.extra").mkdir()
  (tmp_path / "m/1/assets.extra/config.json").write_text(config.to_json())
  models.update()
  assert models.get("m").described()["samplers"] == []
  assert models.get("m").signatures == ["png_ddim_2", "serving_default"]


def test_a_foreign_model_does_not_spoil_the_page(models, tmp_path):
  module = tf.Module()
  module.value = tf.Variable(1.0)
  function = tf.function(
    lambda seed: {"frames": module.value * tf.cast(seed, tf.float32)}, input_signature=[SEED]
  )
  tf.saved_model.save(
    module, tmp_path / "m/1", {"serving_default": function, "a_trajectory": function}
  )
  models.update()
  assert models.get("m").described()["frames"] == 0


def test_the_watch_goes_on_whatever_happens(models, versions, tmp_path, monkeypatch):
  update, calls = models.update, []

  def broken():
    calls.append(len(calls))
    if len(calls) == 1:
      raise RuntimeError("no")
    update()

  monkeypatch.setattr(models, "update", broken)
  shutil.copytree(versions[1], tmp_path / "m/1")
  models.watch(0.01)
  deadline = time.monotonic() + 30
  while not models.all():
    assert time.monotonic() < deadline
    time.sleep(0.01)
  models.stop()
  assert not models._watch.is_alive() and "RuntimeError: no" in models.said[0]


def test_other_folders_are_no_versions(models, versions, tmp_path):
  for name in (".3-abc", "03", "latest", "-1", "²", "9" * 40):
    shutil.copytree(versions[1], tmp_path / "m" / name)
  models.update()
  assert models.all() == []
