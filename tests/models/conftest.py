"""The small model with random weights, and a sampler of it that several tests use."""

import pytest

from iddpm_tf.models import batched_sampling
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.models import trained_model


@pytest.fixture(name="model", scope="session")
def fixture_model(model_dir):
  """The `TrainedModel` of `model_dir`."""
  folder = model_dir_lib.ModelDir(model_dir)
  return trained_model.load(folder, folder.require_config())


@pytest.fixture(name="ancestral", scope="session")
def fixture_ancestral(model):
  """A `BatchedSampler` of five steps with noise."""
  sampler = batched_sampling.parse_samplers(model.config, ("ancestral:5",))[0]
  return batched_sampling.BatchedSampler(model, sampler)
