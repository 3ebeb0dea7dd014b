"""What a training writes for TensorBoard."""

import numpy as np
import pytest
from tensorboard.backend.event_processing import plugin_event_accumulator
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.training import tensorboard
from iddpm_tf.training import train_step
from tests.training import events


@pytest.mark.parametrize(
  "part_squared_norm, scale",
  [
    # Means: 10 of a part, 5 of the batch. |G|^2 = (8 * 5 - 2 * 10) / 6 and
    # tr(Sigma) = (10 - 5) / (1 / 2 - 1 / 8).
    ([7.0, 13.0], 4.0),
    ([15.0, 25.0], None),
    ([20.0, 24.0], None),
    ([8.0, np.inf], None),
  ],
)
def test_the_noise_scale_is_a_ratio_of_averages_where_there_is_one(
  tmp_path, part_squared_norm, scale
):
  config = config_lib.Config.from_settings(batch_size=8, microbatches=4)
  images, norms = np.ones([2, 8], np.float32), np.array(part_squared_norm, np.float32)
  grad_norm = np.array([1.0, 3.0], np.float32)
  records = train_step.StepRecord(
    images.astype(np.int32), images, images, images, images, grad_norm, norms, norms, norms, images
  )
  folder = model_dir_lib.ModelDir(tmp_path)
  writer = tensorboard.Writer(folder, config, 0, part_size=2)
  with writer, writer._writer.as_default(step=2):
    writer._write_noise_scale(records)
  scalars = events.scalars(tmp_path)
  assert scalars["gradient_noise/trace_of_covariance"].keys() == {2}
  expected = {} if scale is None else {2: pytest.approx(scale, rel=1e-5)}
  assert scalars["gradient_noise_scale"] == expected


def test_steps_that_are_taken_again_are_shown_once(tmp_path):
  config = config_lib.Config.from_settings()
  folder = model_dir_lib.ModelDir(tmp_path)
  runs = ((0, (5, 10, 15)), (10, (15, 20)), (10, (15,)))
  for number, (first_step, steps) in enumerate(runs):
    with tensorboard.Writer(folder, config, first_step, part_size=2) as writer:
      for step in steps:
        writer.write_values({"fid": first_step + step}, "evaluation", "raw", step)
    # Files are read in the order of their names, which have the second, and a number without zeros.
    (path,) = folder.tensorboard.glob("events*")
    path.rename(folder.tensorboard / f"{number}.{path.name}")
  accumulator = plugin_event_accumulator.EventAccumulator(
    str(folder.tensorboard), size_guidance={plugin_event_accumulator.TENSORS: 0}
  )
  accumulator.Reload()
  points = accumulator.Tensors("evaluation_fid/raw")
  values = [(point.step, float(tf.make_ndarray(point.tensor_proto))) for point in points]
  assert values == [(5, 5), (10, 10), (15, 25)]
