"""A version in memory: how far a request is, while it runs."""

import threading

import numpy as np
import pytest

from iddpm_tf.serving import config as serving_config
from iddpm_tf.serving.server import loaded_servable
from tests.serving import conftest


@pytest.fixture(name="model", scope="module")
def fixture_model(models_dir):
  return loaded_servable.LoadedServable("small", 1, models_dir / "small/1")


def test_steps_are_counted_while_they_are_drawn(model):
  """Enough images that a step takes longer than asking."""
  inputs = {"seed": np.arange(300, dtype=np.int64), "label": np.zeros(300, np.int32)}
  before, seen = model.step_counts("png_ddim_5"), []
  assert before.steps == 5
  thread = threading.Thread(target=model.run, args=("png_ddim_5", inputs))
  thread.start()
  while thread.is_alive():
    seen.append(model.step_counts("ddim_5_trajectory").begun - before.begun)
  assert sorted(seen) == seen and {1, 2, 3, 4} <= set(seen)
  assert model.step_counts("ddim_5").begun - before.begun == 5


@pytest.mark.parametrize("name", ["", "serving_default", "class_names", "other", "ddim_5_progress"])
def test_other_signatures_have_no_steps(model, name):
  assert model.step_counts(name) is None


def test_the_warm_up_runs_each_signature(tmp_path):
  """Also those of pictures and of guidance."""
  sampler = conftest.plain_sampler("ddim:2", label_dropout=0.1)
  config = serving_config.ServableConfig(edit=True)
  model = loaded_servable.LoadedServable(
    "plain", 1, conftest.export_model([sampler], tmp_path, config=config)
  )
  assert {"edit_ddim_2", "png_interpolate_ddim_2"} < set(model.signatures)
  model.warm_up()
  assert model._used == set(model.signatures)
