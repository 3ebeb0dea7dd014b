"""An export in the C++ runtime of TensorFlow Serving, without Python in the process."""

import numpy as np
import pytest
import tensorflow as tf

from tests.serving import c_program
from tests.serving.conftest import INPUTS

# The signature and the number of images of each request.
REQUESTS = (("ancestral_5", 12), ("ddim_5", 12), ("ddim_5", 7), ("ancestral_5", 1))


@pytest.fixture(name="done", scope="module")
def fixture_done(c_program_path, models_dir, tmp_path_factory):
  """The finished process, which has drawn each of `REQUESTS` and then failed."""
  requests = [
    (name, {key: array[:count] for key, array in INPUTS.items()}) for name, count in REQUESTS
  ]
  wrong = {"seed": INPUTS["seed"], "label": np.arange(12, dtype=np.int32)}
  requests.append(("ddim_5", wrong))
  folder = tmp_path_factory.mktemp("requests")
  return c_program.run(c_program_path, models_dir / "small/1", requests, folder)


def test_it_draws_the_images_of_the_model(done, samplers):
  """Python draws as many images at a time, because kernels for other numbers round differently."""
  by_name = {str(sampler.sampler): sampler for sampler in samplers}
  values = np.frombuffer(done.stdout, np.uint8).reshape(-1, 8, 8, 1)
  assert len(values) == sum(count for _, count in REQUESTS)
  for name, count in REQUESTS:
    images, values = values[:count], values[count:]
    inputs = [tf.constant(array[:count]) for array in INPUTS.values()]
    np.testing.assert_array_equal(images, by_name[name].draw(*inputs))


def test_a_label_out_of_range_is_an_error(done):
  assert done.returncode == 1 and b"label: expected 0 to 9" in done.stderr
