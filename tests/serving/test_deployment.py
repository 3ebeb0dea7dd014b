"""The files beside exported models."""

from concurrent import futures
from importlib import resources
import json
import os
import re
import shutil
import subprocess

from google.protobuf import text_format
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.config import model_server_config_pb2
import yaml

from iddpm_tf import settings
from iddpm_tf.serving import config as config_lib
from iddpm_tf.serving import deployment

SEED = {"seed": tf.TensorSpec([None], tf.int64)}


def read_config(folder):
  """Returns the entries of models.config."""
  text = (folder / "models.config").read_text()
  config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
  return list(config.model_config_list.config)


def test_the_files_agree_with_each_other(models_dir):
  (model,) = read_config(models_dir)
  assert model.name == "small" and model.base_path == "/models/small"
  assert model.model_platform == "tensorflow"
  instructions = (models_dir / "SERVING.md").read_text()
  compose = yaml.safe_load((models_dir / "compose.yaml").read_text())
  flags = compose["services"]["serving"]["command"]
  claim, deployed, service = yaml.safe_load_all((models_dir / "kubernetes.yaml").read_text())
  pod = deployed["spec"]["template"]["spec"]
  (volume,) = pod["volumes"]
  assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
  assert service["spec"]["selector"] == deployed["spec"]["template"]["metadata"]["labels"]
  (container,) = pod["containers"]
  assert set(flags) == set(container["args"]) == set(deployment.SERVER_FLAGS)
  for flag in flags:
    assert flag in instructions
    _, _, path = flag.partition("=")
    assert not path.startswith("/models/") or (models_dir / path.removeprefix("/models/")).is_file()
  for probe in ("startupProbe", "readinessProbe"):
    assert container[probe]["httpGet"]["path"] == "/v1/models/small/metadata"
  assert container["resources"]["limits"] and container["livenessProbe"]
  assert '{"seed": 0, "label": 0}' in instructions
  assert "$" not in (models_dir / "kubernetes.yaml").read_text()


def test_changes_by_a_person_stay_and_a_second_model_is_added(models_dir, tmp_path):
  for path in models_dir.iterdir():
    if path.is_file():
      shutil.copy(path, tmp_path)
  (tmp_path / "batching_parameters.txt").write_text("max_batch_size { value: 3 }\n")
  config = (tmp_path / "models.config").read_text().replace("/models/small", "gs://mine/small")
  (tmp_path / "models.config").write_text("# Mine.\n" + config)
  for name in ("other", "small", "other"):
    deployment.write(tmp_path / name / "1", "ddim_2", SEED, png=False)
  assert (tmp_path / "models.config").read_text().startswith("# Mine.\n")
  assert [(model.name, model.base_path) for model in read_config(tmp_path)] == [
    ("small", "gs://mine/small"),
    ("other", "/models/other"),
  ]
  assert (tmp_path / "batching_parameters.txt").read_text() == "max_batch_size { value: 3 }\n"


@pytest.mark.parametrize("text", ["{", "model_platform_configs { }", "custom_model_config { }"])
def test_a_file_that_takes_no_model_is_refused(tmp_path, text):
  (tmp_path / "models.config").write_text(text)
  with pytest.raises(settings.InputError, match=r"models.config: expected a"):
    deployment.require_models_config(tmp_path)


def test_a_file_that_is_not_text_is_refused(tmp_path):
  (tmp_path / "models.config").write_bytes(b"\xff\xfe")
  with pytest.raises(settings.InputError, match=r"models.config: expected a ModelServerConfig"):
    deployment.require_models_config(tmp_path)


@pytest.mark.parametrize(
  "text",
  [
    "# A list without models.\nmodel_config_list {\n}\n",
    "model_config_list: { config { name: 'a' } }  # } one\n",
    'model_config_list { config { name: "a" base_path: "/}" } }\n# config { name: "b" }\n# Ours.\n',
    "# None yet: {}\n",
    "model_config_list <config <name: 'a'>>",
    "",
  ],
)
def test_a_model_is_added_to_any_layout_of_the_file(tmp_path, text):
  path = tmp_path / "models.config"
  path.write_text(text)
  before = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
  deployment.write(tmp_path / "b/1", "ddim_2", SEED, png=True)
  *others, added = read_config(tmp_path)
  assert others == list(before.model_config_list.config) and added.name == "b"
  # Every character of the file is still there.
  after = path.read_text()
  assert any(after.startswith(text[:i]) and after.endswith(text[i:]) for i in range(len(text) + 1))


def test_concurrent_exports_are_all_added(tmp_path):
  with futures.ThreadPoolExecutor(8) as pool:
    jobs = [
      pool.submit(deployment.write, tmp_path / f"m{i}/1", "ddim_2", SEED, png=True)
      for i in range(24)
    ]
    assert [job.result() for job in jobs] == [None] * 24
  assert {model.name for model in read_config(tmp_path)} == {f"m{i}" for i in range(24)}


def test_the_batching_parameters_suit_the_server():
  """TensorFlow has the batch scheduler of TensorFlow Serving."""
  text = (resources.files("iddpm_tf.serving") / "templates/batching_parameters.txt").read_text()
  values = dict(re.findall(r"^(\w+) { value: (\w+) }$", text, re.MULTILINE))
  assert "\nallowed_batch_sizes" not in text and values["enable_large_batch_splitting"] == "true"
  largest = int(values["max_batch_size"])
  assert largest == config_lib.MAX_REQUEST_IMAGES

  @tf.nondifferentiable_batch_function(
    num_batch_threads=int(values["num_batch_threads"]),
    max_batch_size=largest,
    enable_large_batch_splitting=True,
    batch_timeout_micros=int(values["batch_timeout_micros"]),
    max_enqueued_batches=int(values["max_enqueued_batches"]),
    allowed_batch_sizes=[int(values["max_execution_batch_size"])],
  )
  def double(seeds):
    return 2 * seeds

  @tf.function
  def draw(seeds):
    return double(seeds)

  for count in (1, largest):
    np.testing.assert_array_equal(draw(tf.range(count)), 2 * np.arange(count))
  with pytest.raises(tf.errors.InvalidArgumentError):
    draw(tf.range(largest + 1))


@pytest.mark.parametrize("kind", ["classes", "super_resolution"])
def test_the_commands_of_the_instructions_can_be_run(tmp_path, kind):
  """A script in place of curl prints the request."""
  if kind == "classes":
    inputs = SEED | {"label": tf.TensorSpec([None], tf.int32)}
    expected = {"seed": 0, "label": 0}
  else:
    inputs = SEED | {"low_res": tf.TensorSpec([None, 2, 3, 1], tf.uint8)}
    expected = {"seed": 0, "low_res": [[[128]] * 3] * 2}
  deployment.write(tmp_path / "small/7", "ddim_5", inputs, png=kind == "classes")
  text = (tmp_path / "SERVING.md").read_text()
  assert "\nVERSION=7 " in text and "small/$VERSION" in text
  commands = re.search("```sh\n(curl.*?)```", text, re.DOTALL).group(1)
  assert ("png_ddim_5" in commands) == (kind == "classes") == ("trainers.client" in commands)
  curl = tmp_path / "curl"
  curl.write_text('#!/bin/sh\nprintf "%s\\n" "$4"\n')
  curl.chmod(0o755)
  requests = commands.split("\n", 2)[2].split(" | python3 -c")[0].replace("python -m", "true")
  done = subprocess.run(
    ["sh", "-ec", requests],
    env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    capture_output=True,
    text=True,
    check=True,
  )
  body = json.loads(done.stdout.splitlines()[0])
  assert body == {"signature_name": "ddim_5", "instances": [expected]}
