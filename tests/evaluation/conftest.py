"""A small class-conditional model with random weights, which all tests of evaluations share."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import networks
from iddpm_tf.data import sources
from iddpm_tf.evaluation.nll import full_sum
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.models import trained_model

CONFIG = config_lib.Config.from_settings(
  channel_multipliers=(1,),
  attention_resolutions=(),
  diffusion_steps=25,
  class_conditional=True,
  samplers=("ddim:5",),
  num_samples=12,
).with_data(image_shape=(8, 8, 1), num_classes=10)


@pytest.fixture(name="model", scope="session")
def fixture_model(tmp_path_factory):
  """A `TrainedModel` whose output depends on x_t, t and the label."""
  folder = model_dir_lib.ModelDir(tmp_path_factory.mktemp("runs") / "random")
  folder.write_config(CONFIG)
  network = networks.build_network(CONFIG)
  rng = np.random.default_rng(0)
  for variable in network.trainable_variables:
    variable.assign_add(0.03 * rng.standard_normal(variable.shape).astype(np.float32))
  return trained_model.TrainedModel(
    folder, CONFIG, network, step=7, ema=0.9, strategy=tf.distribute.get_strategy()
  )


@pytest.fixture(name="evaluator", scope="session")
def fixture_evaluator(model):
  """The bound of the model with all terms, traced once."""
  return full_sum.FullSum(model)


@pytest.fixture(name="test_split", scope="session")
def fixture_test_split():
  """The `Source` of the test split of the digits."""
  return sources.load(CONFIG.data, "test")
