"""An export in the C++ runtime of TensorFlow Serving, without Python in the process."""

import pathlib
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests.serving.conftest import INPUTS

# The signature, the number of images and the number of classes of each request.
REQUESTS = (("ancestral_5", 12, 10), ("ddim_5", 12, 10), ("ddim_5", 7, 10), ("ancestral_5", 1, 10))


@pytest.fixture(name="program", scope="module")
def fixture_program(tmp_path_factory):
  compiler = shutil.which("gcc") or shutil.which("cc")
  if not compiler:
    pytest.skip("there is no C compiler")
  path, library = tmp_path_factory.mktemp("c") / "draw", tf.sysconfig.get_lib()
  subprocess.run(
    [
      compiler,
      "-O1",
      "-Wall",
      "-Werror",
      f"-I{tf.sysconfig.get_include()}",
      pathlib.Path(__file__).with_name("draw.c"),
      "-o",
      path,
      f"-L{library}",
      "-l:libtensorflow_cc.so.2",
      "-l:libtensorflow_framework.so.2",
      f"-Wl,-rpath,{library}",
    ],
    check=True,
  )
  return path


def tensors(version, signature):
  """Returns the names of a signature's tensors in the graph, of its inputs and of its outputs."""
  content = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
  definition = content.meta_graphs[0].signature_def[signature]
  inputs = {name: info.name for name, info in definition.inputs.items()}
  outputs = {name: info.name for name, info in definition.outputs.items()}
  return inputs, outputs


@pytest.fixture(name="done", scope="module")
def fixture_done(program, models_dir):
  """The finished process, which has drawn each of `REQUESTS` and then failed."""
  version = models_dir / "small/1"
  arguments = [version]
  for name, count, num_classes in (*REQUESTS, ("ddim_5", 12, 12)):
    inputs, outputs = tensors(version, name)
    arguments += [inputs["seed"], inputs["label"], outputs["image"], str(count), str(num_classes)]
  return subprocess.run([program, *arguments], capture_output=True, check=False)


def test_it_draws_the_images_of_the_model(done, samplers):
  """Python draws as many images at a time, because kernels for other numbers round differently."""
  by_name = {str(sampler.sampler): sampler for sampler in samplers}
  values = np.frombuffer(done.stdout, np.uint8).reshape(-1, 8, 8, 1)
  assert len(values) == sum(count for _, count, _ in REQUESTS)
  for name, count, _ in REQUESTS:
    images, values = values[:count], values[count:]
    inputs = [tf.constant(array[:count]) for array in INPUTS.values()]
    np.testing.assert_array_equal(images, by_name[name].draw(*inputs))


def test_a_label_out_of_range_is_an_error(done):
  assert done.returncode == 1 and b"label: expected 0 to 9" in done.stderr
