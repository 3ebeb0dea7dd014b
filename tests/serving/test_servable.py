"""What an export holds, and what lies beside it."""

import json

from google.protobuf import text_format
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.config import model_server_config_pb2
import yaml

from iddpm_tf.serving import warmup
from tests.serving.conftest import export_model
from trainers import trained_model

INPUTS = {"seed": tf.range(12, dtype=tf.int64), "label": tf.range(12) % 10}


@pytest.fixture(name="signatures", scope="module")
def fixture_signatures(models_dir):
  return tf.saved_model.load(models_dir / "small/1").signatures


def test_signatures_of_each_sampler(signatures):
  names = {"ancestral_5", "ddim_5"}
  assert set(signatures) == {"serving_default", *names, *(f"png_{name}" for name in names),
                             *(f"{name}_trajectory" for name in names)}
  for name, function in signatures.items():
    # A server that batches refuses what is not [N, ...].
    for spec in (*tf.nest.flatten(function.structured_input_signature), *function.structured_outputs.values()):
      assert spec.shape.rank and spec.shape[0] is None, (name, spec)


@pytest.mark.parametrize("name", ["ancestral_5", "ddim_5"])
def test_png_files_and_the_last_frame_are_the_images(signatures, drawn, name):
  images = signatures[name](**INPUTS)["image"].numpy()
  np.testing.assert_array_equal(images, drawn[name])
  files = signatures[f"png_{name}"](**INPUTS)["image_bytes"].numpy()
  np.testing.assert_array_equal([tf.io.decode_png(file).numpy() for file in files], images)
  frames = signatures[f"{name}_trajectory"](**INPUTS)["frames"].numpy()
  assert frames.shape == (12, 4, 8, 8, 1)
  np.testing.assert_array_equal(frames[:, -1], images)
  # The first is noise, a function of the seed alone: of neither sampler nor label.
  other = signatures["ddim_5_trajectory"](seed=INPUTS["seed"], label=INPUTS["label"] * 0)["frames"].numpy()
  np.testing.assert_array_equal(frames[:, 0], other[:, 0])
  assert len({frame.tobytes() for frame in frames[:, 0]}) == 12 and np.any(frames[:, 0] != images)


def test_no_python_and_no_xla_in_the_graph(models_dir):
  content = saved_model_pb2.SavedModel.FromString((models_dir / "small/1/saved_model.pb").read_bytes())
  (graph,) = content.meta_graphs
  functions = graph.graph_def.library.function
  ops = {node.op for node in graph.graph_def.node} | {node.op for one in functions for node in one.node_def}
  assert not {op for op in ops if "Py" in op or op.startswith("Xla")}
  assert not any(one.attr["_XlaMustCompile"].b for one in functions)


def test_warm_up_has_a_request_for_each_signature(models_dir, signatures):
  requests = warmup.read(models_dir / "small/1")
  assert sorted(request.model_spec.signature_name for request in requests) == sorted(signatures)
  for request in requests:
    assert request.model_spec.name == "small"
    inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
    assert all(len(value) == 1 for value in signatures[request.model_spec.signature_name](**inputs).values())


def test_where_it_is_from_travels_with_it(models_dir):
  extra = models_dir / "small/1/assets.extra"
  made_from = json.loads((extra / "made_from.json").read_text())
  assert made_from["training_step"] == 10 and made_from["compute"] == "float32" and made_from["version"]
  assert json.loads((extra / "config.json").read_text())["data"]["num_classes"] == 10


def test_files_for_a_server_lie_beside_it(models_dir):
  config = text_format.Parse((models_dir / "models.config").read_text(), model_server_config_pb2.ModelServerConfig())
  (model,) = config.model_config_list.config
  assert (model.name, model.base_path, model.model_platform) == ("small", "/models/small", "tensorflow")
  compose = yaml.safe_load((models_dir / "compose.yaml").read_text())
  command = compose["services"]["serving"]["command"]
  manifest = list(yaml.safe_load_all((models_dir / "kubernetes.yaml").read_text()))
  (container,) = manifest[0]["spec"]["template"]["spec"]["containers"]
  assert set(command) == set(container["args"])
  for flag in command:
    path = flag.partition("=")[2]
    assert not path.startswith("/models/") or (models_dir / path.removeprefix("/models/")).is_file()
  for probe in ("startupProbe", "readinessProbe"):
    assert container[probe]["httpGet"]["path"] == "/v1/models/small"
  assert container["resources"]["limits"] and container["livenessProbe"]
  assert '{"seed": 0, "label": 0}' in (models_dir / "SERVING.md").read_text()
  assert "$" not in (models_dir / "kubernetes.yaml").read_text()


def test_what_a_person_changed_stays_and_a_second_model_is_added(model_dir, models_dir, run):
  (models_dir / "batching_parameters.txt").write_text("max_batch_size { value: 3 }\n")
  text = (models_dir / "models.config").read_text()
  (models_dir / "models.config").write_text(text.replace("/models/small", "gs://mine/small"))
  common = ("export", f"--model_dir={model_dir}", f"--output_dir={models_dir}", "--samplers=ddim:2", "--nopng")
  assert run(*common, "--name=other", "--warmup=", "--compute=mixed_bfloat16", "--verify").status == 0
  config = text_format.Parse((models_dir / "models.config").read_text(), model_server_config_pb2.ModelServerConfig())
  assert [(model.name, model.base_path) for model in config.model_config_list.config] == [
      ("small", "gs://mine/small"), ("other", "/models/other")]
  assert (models_dir / "batching_parameters.txt").read_text() == "max_batch_size { value: 3 }\n"
  assert not (models_dir / "other/1/assets.extra" / warmup.FILE).exists()
  assert set(tf.saved_model.load(models_dir / "other/1").signatures) == {"serving_default", "ddim_2"}


def test_bfloat16_is_near_float32(model_dir, tmp_path, drawn):
  export_model(model_dir, tmp_path, "--compute=mixed_bfloat16", "--samplers=ddim:5", "--nopng", "--warmup=")
  images = tf.saved_model.load(tmp_path / "small/1").signatures["ddim_5"](**INPUTS)["image"].numpy()
  difference = np.abs(images.astype(int) - drawn["ddim_5"])
  assert 0 < difference.mean() < 4


def test_a_model_that_diverged_is_refused(model_dir, tmp_path, run, monkeypatch):
  load = trained_model.load

  def diverged(*arguments, **options):
    model = load(*arguments, **options)
    kernel = model.network.trainable_variables[3]
    kernel.assign(kernel * np.nan)
    return model

  monkeypatch.setattr(trained_model, "load", diverged)
  result = run("export", f"--model_dir={model_dir}", f"--output_dir={tmp_path / 'saved'}")
  assert result.status == 2 and "expected finite weights" in result.err
  assert not list(tmp_path.rglob("saved_model.pb"))


@pytest.mark.parametrize("flags, message", [
    (("--trajectory=1",), "--trajectory: expected 0, or 2 frames or more"), (("--warmup=0",), "--warmup"),
    (("--compute=float16",), "--compute"), (("--samplers=ddim:99",), "--samplers")])
def test_bad_flags_are_one_line(model_dir, tmp_path, run, flags, message):
  result = run("export", f"--model_dir={model_dir}", f"--output_dir={tmp_path / 'saved'}", *flags)
  assert result.status == 2 and len(result.err.splitlines()) == 1 and message in result.err
  assert not (tmp_path / "saved").exists()


def test_a_model_that_was_never_trained_is_refused(model_dir, tmp_path, run):
  folder = tmp_path / "untrained"
  folder.mkdir()
  (folder / "config.json").write_text((model_dir / "config.json").read_text())
  result = run("export", f"--model_dir={folder}", f"--output_dir={tmp_path / 'saved'}")
  assert result.status == 2 and len(result.err.splitlines()) == 1 and not list(tmp_path.rglob("saved_model.pb"))
