"""The content of an export."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from iddpm_tf import settings
from iddpm_tf.diffusion.samplers import base
from iddpm_tf.models import image_sampler
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.models import trained_model
from iddpm_tf.serving import config as config_lib
from iddpm_tf.serving import layout
from iddpm_tf.serving import servable
from iddpm_tf.serving import warmup
from tests.serving import conftest

IMAGES_ONLY = config_lib.ServableConfig(png=False, warmup=())


@pytest.fixture(name="signatures", scope="module")
def fixture_signatures(models_dir):
  return tf.saved_model.load(models_dir / "small/1").signatures


@pytest.fixture(name="inputs")
def fixture_inputs():
  return {name: tf.constant(array) for name, array in conftest.INPUTS.items()}


@pytest.fixture(name="plain")
def fixture_plain():
  """A sampler of two steps of a network of one layer."""
  return conftest.plain_sampler("ddim:2")


def test_each_sampler_has_its_signatures(signatures):
  names = {"ancestral_5", "ddim_5"}
  assert set(signatures) == {
    "serving_default",
    "class_names",
    *names,
    *(f"png_{name}" for name in names),
    *(f"{name}_trajectory" for name in names),
    *(f"{name}_progress" for name in names),
  }
  for name, function in signatures.items():
    # A server that batches requests accepts tensors [N, ...] only.
    inputs = tf.nest.flatten(function.structured_input_signature)
    for spec in (*inputs, *function.structured_outputs.values()):
      assert spec.shape.rank and spec.shape[0] is None, (name, spec)


@pytest.mark.parametrize("name", ["ancestral_5", "ddim_5"])
def test_png_files_and_the_last_frame_are_the_images(signatures, inputs, drawn, name):
  images = signatures[name](**inputs)["image"].numpy()
  np.testing.assert_array_equal(images, drawn[name])
  files = signatures[f"png_{name}"](**inputs)["image_bytes"].numpy()
  np.testing.assert_array_equal([tf.io.decode_png(file).numpy() for file in files], images)
  frames = signatures[f"{name}_trajectory"](**inputs)["frames"].numpy()
  assert frames.shape == (12, 4, 8, 8, 1)
  np.testing.assert_array_equal(frames[:, -1], images)
  # The first frame is noise, which depends on the seed alone, not on the sampler or the label.
  other = signatures["ddim_5_trajectory"](seed=inputs["seed"], label=inputs["label"] * 0)["frames"]
  np.testing.assert_array_equal(frames[:, 0], other.numpy()[:, 0])
  assert len({frame.tobytes() for frame in frames[:, 0]}) == 12 and np.any(frames[:, 0] != images)


def test_the_names_of_the_classes_are_returned_for_each_seed(signatures):
  rows = signatures["class_names"](seed=tf.constant([0, 7], tf.int64))["class_names_bytes"].numpy()
  names = "zero one two three four five six seven eight nine"
  assert [b" ".join(row).decode() for row in rows] == [names, names]


def begun_steps(signatures, name):
  """Returns the numbers of begun steps, and of steps in a request, of a sampler."""
  counts = signatures[f"{name}_progress"](seed=tf.constant([5, 6], tf.int64))
  assert {value.dtype for value in counts.values()} == {tf.int64}
  (begun, repeated), (steps, _) = counts["begun_steps"].numpy(), counts["steps"].numpy()
  assert begun == repeated
  return begun, steps


def test_the_steps_of_each_sampler_are_counted(signatures, inputs):
  before, other = begun_steps(signatures, "ancestral_5")[0], begun_steps(signatures, "ddim_5")
  assert other[1] == 5
  for name in ("ancestral_5", "png_ancestral_5", "ancestral_5_trajectory", "serving_default"):
    signatures[name](**inputs)
    before += 5
    assert begun_steps(signatures, "ancestral_5") == (before, 5)
  assert begun_steps(signatures, "ddim_5") == other


def test_an_export_can_hold_images_alone_and_has_begun_no_step(plain, tmp_path, inputs):
  images = plain.draw(*inputs.values()).numpy()
  path = conftest.export_model([plain], tmp_path, config=IMAGES_ONLY, verify_with=conftest.INPUTS)
  signatures = tf.saved_model.load(path).signatures
  assert set(signatures) == {"serving_default", "ddim_2", "ddim_2_progress"}
  assert not (path / layout.ASSETS / layout.WARMUP).exists() and warmup.read(path) == []
  assert begun_steps(signatures, "ddim_2") == (0, 2)
  np.testing.assert_array_equal(signatures["ddim_2"](**inputs)["image"], images)


def test_counting_changes_no_image(model_dir, drawn, inputs):
  folder = model_dir_lib.ModelDir(model_dir)
  model = trained_model.load(folder, folder.require_config())
  uncounted = model.make_image_sampler(base.parse("ancestral:5"))
  np.testing.assert_array_equal(uncounted.draw(*inputs.values()), drawn["ancestral_5"])


def test_the_steps_of_both_models_of_a_chain_are_counted(tmp_path):
  options = {"class_conditional": False, "num_classes": 0}
  chain = image_sampler.TwoStageSampler(
    conftest.plain_sampler("ddim:2", (4, 4, 1), **options),
    conftest.plain_sampler("ddim:3", low_res_size=4, **options),
  )
  path = servable.export([chain], tmp_path / "chain", assets={}, config=IMAGES_ONLY)
  signatures = tf.saved_model.load(path).signatures
  signatures["ddim_2"](seed=tf.constant([1], tf.int64))
  assert begun_steps(signatures, "ddim_2") == (5, 5)


def test_samplers_that_do_not_count_have_no_progress(tmp_path):
  samplers = [conftest.plain_sampler("ddim:2", counts=False)]
  path = servable.export(samplers, tmp_path / "small", assets={}, config=IMAGES_ONLY)
  assert set(tf.saved_model.load(path).signatures) == {"serving_default", "ddim_2"}


def test_the_first_sampler_is_the_default(signatures, inputs, drawn):
  images = signatures["serving_default"](**inputs)["image"]
  np.testing.assert_array_equal(images, drawn["ancestral_5"])


def test_the_graph_has_neither_python_nor_xla(models_dir):
  content = (models_dir / "small/1/saved_model.pb").read_bytes()
  (graph,) = saved_model_pb2.SavedModel.FromString(content).meta_graphs
  functions = graph.graph_def.library.function
  ops = {node.op for node in graph.graph_def.node}
  ops |= {node.op for function in functions for node in function.node_def}
  assert not {op for op in ops if "Py" in op or op.startswith("Xla")}
  assert not any(function.attr["_XlaMustCompile"].b for function in functions)


def test_each_signature_has_a_warm_up_request(models_dir, signatures):
  requests = warmup.read(models_dir / "small/1")
  assert sorted(request.model_spec.signature_name for request in requests) == sorted(signatures)
  for request in requests:
    assert request.model_spec.name == "small"
    inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
    outputs = signatures[request.model_spec.signature_name](**inputs)
    assert all(len(value) == 1 for value in outputs.values())


def test_too_many_warm_up_requests_are_refused(signatures, tmp_path):
  with pytest.raises(settings.InputError, match=r"^warmup: expected at most 1000 requests"):
    warmup.write(tmp_path, "small", signatures, range(1, 200))
  assert list(tmp_path.iterdir()) == []


def test_the_assets_travel_with_the_version(models_dir):
  path = models_dir / "small/1" / layout.ASSETS / layout.CONFIG
  assert json.loads(path.read_text())["data"]["num_classes"] == 10


def test_a_version_that_appears_meanwhile_stays(plain, tmp_path, monkeypatch):
  folder, save = tmp_path / "small", tf.saved_model.save
  other = 1

  def slow_save(*arguments):
    """Another export writes its version while this one saves."""
    save(*arguments)
    (folder / f"{other}/variables").mkdir(parents=True, exist_ok=True)

  monkeypatch.setattr(tf.saved_model, "save", slow_save)
  path = servable.export([plain], folder, assets={}, config=IMAGES_ONLY)
  assert path == folder / "2" and (path / "saved_model.pb").exists()
  other = 5
  with pytest.raises(settings.InputError, match=r"^version: expected a number below 2"):
    servable.export([plain], folder, assets={}, version=5, config=IMAGES_ONLY)
  assert sorted(path.name for path in folder.iterdir()) == ["1", "2", "5"]
  assert [path.name for path in (folder / "5").iterdir()] == ["variables"]


def test_an_export_that_differs_is_refused(plain, tmp_path, monkeypatch):
  load = tf.saved_model.load

  def load_altered(path):
    loaded = load(path)
    for variable in loaded.samplers[0].weights:
      variable.assign(0.5 * variable)
    return loaded

  monkeypatch.setattr(tf.saved_model, "load", load_altered)
  with pytest.raises(settings.InputError, match=r"^verify: expected image of the signature ddim_2"):
    servable.export(
      [plain], tmp_path / "small", assets={}, config=IMAGES_ONLY, verify_with=conftest.INPUTS
    )
  assert list((tmp_path / "small").iterdir()) == []


def test_a_model_that_diverged_is_refused(plain, tmp_path):
  weight = plain.weights[0]
  weight.assign(weight * np.nan)
  with pytest.raises(settings.InputError, match=r"^weights: expected finite numbers, received"):
    servable.export([plain], tmp_path / "small", assets={})
  assert not list(tmp_path.rglob("saved_model.pb"))
