"""Guidance and editing of an export: the same bytes in C, by REST, by gRPC, and by the command."""

import io
import shutil
import time

import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from iddpm_tf.models import seeds
from iddpm_tf.serving import clients
from iddpm_tf.serving import config as serving_config
from tests import small_model
from tests.serving import c_program
from tests.serving import conftest
from trainers import client

COUNT = 7


@pytest.fixture(name="sampler", scope="module")
def fixture_sampler(tmp_path_factory):
  """A sampler of a model that knows guidance."""
  config = small_model.make_config(label_dropout=0.1)
  folder = small_model.write(tmp_path_factory.mktemp("runs") / "guided", config)
  (sampler,) = conftest.image_samplers(folder, samplers=("ddim:3",))
  return sampler


@pytest.fixture(name="version", scope="module")
def fixture_version(sampler, models_dir):
  """The export of the guided model, beside the other one."""
  config = serving_config.ServableConfig(edit=True, warmup=())
  yield conftest.export_model([sampler], models_dir, name="guided", config=config)
  shutil.rmtree(models_dir / "guided")


@pytest.fixture(name="arrays", scope="module")
def fixture_arrays(sampler):
  """An input of each kind, with other scales and strengths for each image."""
  inputs = seeds.example_inputs(sampler.config, COUNT)
  return {spec.name: inputs[spec.name] for spec in sampler.edit_signature()}


@pytest.fixture(name="edited", scope="module")
def fixture_edited(sampler, arrays):
  """The images of the arrays, without any export."""
  return edit(sampler, arrays)


def edit(sampler, arrays):
  return sampler.edit(*map(tf.constant, arrays.values())).numpy()


@pytest.fixture(name="connect")
def fixture_connect(server, version):
  """Returns a function that connects to the served export by a protocol."""

  def connect(protocol):
    where = {"address": server.address} if protocol == "grpc" else {"url": server.url}
    for _ in range(60):  # The server looks for new models.
      connection = clients.connect(model="guided", **where)
      try:
        connection.signatures()
        return connection
      except clients.ServingError:
        connection.close()
        time.sleep(0.5)
    raise AssertionError("the server has not loaded the model")

  return connect


def test_the_signatures(connect, version):
  with connect("rest") as connection:
    signatures = connection.signatures()
  scales = ("guidance_scale", "label", "seed")
  editing = ("guidance_scale", "image", "label", "mask", "seed", "strength")
  assert signatures["ddim_3"] == signatures["png_ddim_3"] == scales
  assert signatures["edit_ddim_3"] == signatures["png_edit_ddim_3"] == editing


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_both_protocols_edit_as_the_model_does(connect, arrays, edited, protocol):
  with connect(protocol) as connection:
    (images,) = connection.predict("edit_ddim_3", arrays).values()
    (files,) = connection.predict("png_edit_ddim_3", arrays).values()
  np.testing.assert_array_equal(images, edited)
  decoded = [np.asarray(Image.open(io.BytesIO(content))) for content in files]
  np.testing.assert_array_equal(decoded, edited[..., 0])
  known = arrays["mask"] < 128
  np.testing.assert_array_equal(images[known], arrays["image"][known])


def test_images_between_two_pictures(connect, sampler, arrays):
  first, second = arrays["image"][:2], arrays["image"][2:4]
  inputs = {
    "image": np.repeat(first, 3, axis=0),
    "other_image": np.repeat(second, 3, axis=0),
    "weight": np.tile(np.float32([0, 0.5, 1]), 2),
    "label": np.repeat(np.int32([1, 2]), 3),
  }
  expected = sampler.interpolate(*map(tf.constant, inputs.values())).numpy()
  for protocol in ("grpc", "rest"):
    with connect(protocol) as connection:
      (images,) = connection.predict("interpolate_ddim_3", inputs).values()
    np.testing.assert_array_equal(images, expected)


def test_c_edits_as_the_model_does(c_program_path, version, arrays, edited, tmp_path):
  done = c_program.run(c_program_path, version, [("edit_ddim_3", arrays)], tmp_path)
  assert done.returncode == 0, done.stderr
  np.testing.assert_array_equal(np.frombuffer(done.stdout, np.uint8), edited.ravel())


def test_the_command_edits_as_the_model_does(connect, server, sampler, arrays, tmp_path):
  connect("rest").close()
  picture, mask = arrays["image"][0], arrays["mask"][0]
  Image.fromarray(picture[..., 0]).save(tmp_path / "picture.png")
  Image.fromarray(mask[..., 0]).save(tmp_path / "mask.png")
  flags = {
    "url": server.url,
    "model": "guided",
    "signature": "edit_ddim_3",
    "image": tmp_path / "picture.png",
    "mask": tmp_path / "mask.png",
    "strength": 0.7,
    "guidance_scale": 2.0,
    "labels": 4,
    "num_samples": COUNT,
    "batch_size": COUNT,
    "output_dir": tmp_path / "drawn",
  }
  assert (
    client.COMMAND.run(["client", *(f"--{name}={value}" for name, value in flags.items())]) == 0
  )
  drawn = [np.asarray(Image.open(tmp_path / "drawn" / f"{i:06d}.png")) for i in range(COUNT)]
  constants = {"label": np.int32(4), "guidance_scale": np.float32(2), "strength": np.float32(0.7)}
  constants |= {"image": picture, "mask": mask}
  repeated = {name: np.stack(COUNT * [value]) for name, value in constants.items()}
  expected = edit(sampler, arrays | {"seed": np.arange(COUNT)} | repeated)
  np.testing.assert_array_equal(drawn, expected[..., 0])


@pytest.mark.parametrize(
  "name, value, message",
  [
    ("strength", 0.0, "strength: expected a share above 0"),
    ("strength", 1.5, "strength: expected a share above 0"),
    ("guidance_scale", np.inf, "guidance_scale: expected finite numbers"),
  ],
)
def test_wrong_values_are_refused_by_the_server(connect, arrays, name, value, message):
  wrong = arrays | {name: np.full(COUNT, value, np.float32)}
  with connect("grpc") as connection, pytest.raises(clients.ServingError, match=message):
    connection.predict("edit_ddim_3", wrong)


@pytest.mark.parametrize(
  "flags, message",
  [
    (("--signature=edit_ddim_3",), "--image: expected a picture, which edit_ddim_3 edits"),
    (("--signature=ddim_3", "--strength=0.5"), "--strength: expected none, because ddim_3 has no"),
    (("--signature=ddim_3", "--classifier_scale=2"), "--classifier_scale: expected none"),
    (("--signature=edit_ddim_3", "--image=nowhere.png"), "--image: "),
  ],
)
def test_wrong_flags_of_the_command_are_one_line(connect, server, flags, message, tmp_path, capsys):
  connect("rest").close()
  output = f"--output_dir={tmp_path / 'drawn'}"
  status = client.COMMAND.run(["client", f"--url={server.url}", "--model=guided", output, *flags])
  assert status == 2 and message in capsys.readouterr().err
  assert not (tmp_path / "drawn").exists()
