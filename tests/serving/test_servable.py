"""What an export holds, and what lies beside it."""

from concurrent import futures
from importlib import resources
import json
import os
import re
import signal
import subprocess

from google.protobuf import text_format
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.config import model_server_config_pb2
import yaml

from iddpm_tf.models import trained_model
from iddpm_tf.serving import deployment
from iddpm_tf.serving import servable
from iddpm_tf.serving import warmup
from tests.serving.conftest import export_model
from trainers import export

INPUTS = {"seed": tf.range(12, dtype=tf.int64), "label": tf.range(12) % 10}


@pytest.fixture(name="signatures", scope="module")
def fixture_signatures(models_dir):
  return tf.saved_model.load(models_dir / "small/1").signatures


def test_signatures_of_each_sampler(signatures):
  names = {"ancestral_5", "ddim_5"}
  assert set(signatures) == {
    "serving_default",
    *names,
    *(f"png_{name}" for name in names),
    *(f"{name}_trajectory" for name in names),
  }
  for name, function in signatures.items():
    # A server that batches refuses what is not [N, ...].
    for spec in (
      *tf.nest.flatten(function.structured_input_signature),
      *function.structured_outputs.values(),
    ):
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
  other = signatures["ddim_5_trajectory"](seed=INPUTS["seed"], label=INPUTS["label"] * 0)[
    "frames"
  ].numpy()
  np.testing.assert_array_equal(frames[:, 0], other[:, 0])
  assert len({frame.tobytes() for frame in frames[:, 0]}) == 12 and np.any(frames[:, 0] != images)


def test_no_python_and_no_xla_in_the_graph(models_dir):
  content = saved_model_pb2.SavedModel.FromString(
    (models_dir / "small/1/saved_model.pb").read_bytes()
  )
  (graph,) = content.meta_graphs
  functions = graph.graph_def.library.function
  ops = {node.op for node in graph.graph_def.node} | {
    node.op for one in functions for node in one.node_def
  }
  assert not {op for op in ops if "Py" in op or op.startswith("Xla")}
  assert not any(one.attr["_XlaMustCompile"].b for one in functions)


def test_warm_up_has_a_request_for_each_signature(models_dir, signatures):
  requests = warmup.read(models_dir / "small/1")
  assert sorted(request.model_spec.signature_name for request in requests) == sorted(signatures)
  for request in requests:
    assert request.model_spec.name == "small"
    inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
    assert all(
      len(value) == 1 for value in signatures[request.model_spec.signature_name](**inputs).values()
    )


def test_where_it_is_from_travels_with_it(models_dir):
  extra = models_dir / "small/1/assets.extra"
  made_from = json.loads((extra / "made_from.json").read_text())
  assert (
    made_from["training_step"] == 10 and made_from["compute"] == "float32" and made_from["version"]
  )
  assert json.loads((extra / "config.json").read_text())["data"]["num_classes"] == 10


def test_a_version_that_appears_meanwhile_stays(model_dir, tmp_path, run, monkeypatch):
  save = tf.saved_model.save

  def slow(*arguments):
    save(*arguments)
    (tmp_path / f"small/{1 if auto else 5}/variables").mkdir(parents=True, exist_ok=True)

  monkeypatch.setattr(tf.saved_model, "save", slow)
  common = (
    "export",
    f"--model_dir={model_dir}",
    f"--output_dir={tmp_path}",
    "--name=small",
    "--samplers=ddim:2",
    "--warmup=",
  )
  auto = True
  assert run(*common).status == 0 and (tmp_path / "small/2/saved_model.pb").exists()
  auto = False
  result = run(*common, "--version=5")
  assert result.status == 2 and "--version: expected one below 2**63 that is not in" in result.err
  assert sorted(path.name for path in (tmp_path / "small").iterdir()) == ["1", "2", "5"]
  assert [path.name for path in (tmp_path / "small/5").iterdir()] == ["variables"]


def test_names_that_no_server_counts_are_passed_over(tmp_path):
  for name in ("3", "99999999999999999999", "v9", ".unfinished-1"):
    (tmp_path / name).mkdir()
  servable.require_new(tmp_path, 4)
  servable.require_new(tmp_path, None)
  with pytest.raises(ValueError, match="--version: expected one below"):
    servable.require_new(tmp_path, 3)
  (tmp_path / str(2**63 - 1)).mkdir()
  with pytest.raises(ValueError, match="--version: expected one below"):
    servable.require_new(tmp_path, None)


def test_files_for_a_server_lie_beside_it(models_dir):
  config = text_format.Parse(
    (models_dir / "models.config").read_text(), model_server_config_pb2.ModelServerConfig()
  )
  (model,) = config.model_config_list.config
  assert (model.name, model.base_path, model.model_platform) == (
    "small",
    "/models/small",
    "tensorflow",
  )
  compose = yaml.safe_load((models_dir / "compose.yaml").read_text())
  command = compose["services"]["serving"]["command"]
  claim, deployed, service = yaml.safe_load_all((models_dir / "kubernetes.yaml").read_text())
  (volume,) = deployed["spec"]["template"]["spec"]["volumes"]
  assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
  assert service["spec"]["selector"] == deployed["spec"]["template"]["metadata"]["labels"]
  (container,) = deployed["spec"]["template"]["spec"]["containers"]
  assert set(command) == set(container["args"])
  for flag in command:
    name, _, path = flag.partition("=")
    assert f"{name}={path}".rstrip("=") in (models_dir / "SERVING.md").read_text()
    assert not path.startswith("/models/") or (models_dir / path.removeprefix("/models/")).is_file()
  for probe in ("startupProbe", "readinessProbe"):
    assert container[probe]["httpGet"]["path"] == "/v1/models/small/metadata"
  assert container["resources"]["limits"] and container["livenessProbe"]
  assert '{"seed": 0, "label": 0}' in (models_dir / "SERVING.md").read_text()
  assert "$" not in (models_dir / "kubernetes.yaml").read_text()


def test_what_a_person_changed_stays_and_a_second_model_is_added(model_dir, models_dir, run):
  (models_dir / "batching_parameters.txt").write_text("max_batch_size { value: 3 }\n")
  text = (models_dir / "models.config").read_text()
  (models_dir / "models.config").write_text(
    "# Mine.\n" + text.replace("/models/small", "gs://mine/small")
  )
  common = (
    "export",
    f"--model_dir={model_dir}",
    f"--output_dir={models_dir}",
    "--samplers=ddim:2",
    "--nopng",
  )
  assert (
    run(*common, "--name=other", "--warmup=", "--compute=mixed_bfloat16", "--verify").status == 0
  )
  config = text_format.Parse(
    (models_dir / "models.config").read_text(), model_server_config_pb2.ModelServerConfig()
  )
  assert (models_dir / "models.config").read_text().startswith("# Mine.\n")
  assert [(model.name, model.base_path) for model in config.model_config_list.config] == [
    ("small", "gs://mine/small"),
    ("other", "/models/other"),
  ]
  assert (models_dir / "batching_parameters.txt").read_text() == "max_batch_size { value: 3 }\n"
  assert not (models_dir / "other/1/assets.extra" / warmup.FILE).exists()
  assert set(tf.saved_model.load(models_dir / "other/1").signatures) == {
    "serving_default",
    "ddim_2",
  }


def test_bfloat16_is_near_float32(model_dir, tmp_path, drawn):
  export_model(
    model_dir, tmp_path, "--compute=mixed_bfloat16", "--samplers=ddim:5", "--nopng", "--warmup="
  )
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
  assert result.status == 2 and "weights: expected finite ones" in result.err
  assert not list(tmp_path.rglob("saved_model.pb"))


def test_a_stopped_export_leaves_nothing(model_dir, tmp_path, run, monkeypatch):
  monkeypatch.setattr(tf.saved_model, "save", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
  result = run(
    "export", f"--model_dir={model_dir}", f"--output_dir={tmp_path}", "--samplers=ddim:2"
  )
  assert result.status == 143 and "stopped by SIGTERM" in result.out
  assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("text", ["{", "model_platform_configs { }", "custom_model_config { }"])
def test_a_models_config_that_takes_no_model_is_said_first(model_dir, tmp_path, run, text):
  (tmp_path / "models.config").write_text(text)
  result = run("export", f"--model_dir={model_dir}", f"--output_dir={tmp_path}")
  assert (
    result.status == 2
    and len(result.err.splitlines()) == 1
    and "models.config: expected" in result.err
  )
  assert [path.name for path in tmp_path.iterdir()] == ["models.config"]


@pytest.mark.parametrize(
  "text",
  [
    "# A list of none.\nmodel_config_list {\n}\n",
    "model_config_list: { config { name: 'a' } }  # } one\n",
    'model_config_list { config { name: "a" base_path: "/}" } }\n# config { name: "old" }\n# Ours.\n',
    "# None yet: {}\n",
    "model_config_list <config <name: 'a'>>",
    "",
  ],
)
def test_a_model_is_added_however_the_file_is_laid_out(tmp_path, text):
  path = tmp_path / "models.config"
  path.write_text(text)
  before = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
  deployment.write(tmp_path / "b/1", "ddim_2", {"seed": None}, png=True)
  found = text_format.Parse(path.read_text(), model_server_config_pb2.ModelServerConfig())
  assert [*before.model_config_list.config] == found.model_config_list.config[:-1]
  assert found.model_config_list.config[-1].name == "b"
  new = path.read_text()
  assert any(
    new.startswith(text[:i]) and new.endswith(text[i:]) for i in range(len(text) + 1)
  )  # All of it is there.


def test_models_that_are_exported_at_once_are_all_added(tmp_path):
  with futures.ThreadPoolExecutor(8) as pool:
    done = [
      pool.submit(deployment.write, tmp_path / f"m{i}/1", "ddim_2", {"seed": None}, png=True)
      for i in range(24)
    ]
    assert [one.result() for one in done] == [None] * 24
  found = text_format.Parse(
    (tmp_path / "models.config").read_text(), model_server_config_pb2.ModelServerConfig()
  )
  assert {model.name for model in found.model_config_list.config} == {f"m{i}" for i in range(24)}


def test_batches_of_the_server():
  """It has no `allowed_batch_sizes`, of which the last would have to be the largest, and takes what warms it up."""
  text = (resources.files("iddpm_tf.serving") / "templates/batching_parameters.txt").read_text()
  values = dict(re.findall(r"^(\w+) { value: (\w+) }$", text, re.MULTILINE))
  assert "\nallowed_batch_sizes" not in text and values["enable_large_batch_splitting"] == "true"
  most = int(values["max_batch_size"])
  assert most == export._MOST_IMAGES

  # The server's own scheduler.
  @tf.nondifferentiable_batch_function(
    num_batch_threads=int(values["num_batch_threads"]),
    max_batch_size=most,
    enable_large_batch_splitting=True,
    batch_timeout_micros=int(values["batch_timeout_micros"]),
    max_enqueued_batches=int(values["max_enqueued_batches"]),
    allowed_batch_sizes=[int(values["max_execution_batch_size"])],
  )
  def doubled(seeds):
    return 2 * seeds

  draw = tf.function(lambda seeds: doubled(seeds))  # pylint: disable=unnecessary-lambda
  for count in (1, most):
    np.testing.assert_array_equal(draw(tf.range(count)), 2 * np.arange(count))
  with pytest.raises(tf.errors.InvalidArgumentError):
    draw(tf.range(most + 1))


@pytest.mark.parametrize("kind", ["classes", "enlarges"])
def test_the_commands_of_the_page_can_be_typed(tmp_path, kind):
  """Of shells: what they would send."""
  inputs = (
    {"seed": None, "label": None}
    if kind == "classes"
    else {"seed": None, "low_res": tf.TensorSpec([None, 2, 3, 1], tf.uint8)}
  )
  deployment.write(tmp_path / "small/7", "ddim_5", inputs, png=kind == "classes")
  text = (tmp_path / "SERVING.md").read_text()
  assert "\nVERSION=7 " in text and "small/$VERSION" in text
  commands = re.search("```sh\n(curl.*?)```", text, re.DOTALL).group(1)
  assert ("png_ddim_5" in commands) == (kind == "classes") == ("trainers.client" in commands)
  echo = tmp_path / "curl"
  echo.write_text('#!/bin/sh\nprintf "%s\\n" "$4"\n')
  echo.chmod(0o755)
  lines = commands.split("\n", 2)[2].split(" | python3 -c")[0].replace("python -m", "true")
  done = subprocess.run(
    ["sh", "-ec", lines],
    env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    capture_output=True,
    text=True,
    check=True,
  )
  body = json.loads(done.stdout.splitlines()[0])
  expected = (
    {"seed": 0, "label": 0} if kind == "classes" else {"seed": 0, "low_res": [[[128]] * 3] * 2}
  )
  assert body == {"signature_name": "ddim_5", "instances": [expected]}


@pytest.mark.parametrize(
  "flags, message",
  [
    (("--name=../up",), "--name: expected at most 100 letters"),
    (("--name=",), "--name: expected one"),
    (("--name=models.config",), "--name: expected another name"),
    (("--warmup=65",), "--warmup"),
    (("--version=9223372036854775808",), "--version: expected one below 2**63"),
    (("--output_dir=",), "--output_dir: expected one"),
    ((f"--name={'n' * 101}",), "--name: expected at most 100"),
    (("--name=a b",), "--name: expected at most"),
    (("--trajectory=1",), "--trajectory: expected 0, or 2 frames or more"),
    (("--warmup=0",), "--warmup"),
    (("--compute=float16",), "--compute"),
    (("--samplers=ddim:99",), "--samplers"),
  ],
)
def test_bad_flags_are_one_line(model_dir, tmp_path, run, flags, message):
  result = run("export", f"--model_dir={model_dir}", f"--output_dir={tmp_path / 'saved'}", *flags)
  assert result.status == 2 and len(result.err.splitlines()) == 1 and message in result.err
  assert not (tmp_path / "saved").exists()


def test_a_file_where_a_servable_would_be(model_dir, tmp_path, run):
  (tmp_path / "small").touch()
  result = run("export", f"--model_dir={model_dir}", f"--output_dir={tmp_path}", "--name=small")
  assert result.status == 2 and result.err.startswith("export: --output_dir: expected a folder")


def test_a_model_that_was_never_trained_is_refused(model_dir, tmp_path, run):
  folder = tmp_path / "untrained"
  folder.mkdir()
  (folder / "config.json").write_text((model_dir / "config.json").read_text())
  result = run("export", f"--model_dir={folder}", f"--output_dir={tmp_path / 'saved'}")
  assert (
    result.status == 2
    and len(result.err.splitlines()) == 1
    and not list(tmp_path.rglob("saved_model.pb"))
  )
