"""Commands on two devices: the images and the scores of one device, and batches that do not fit."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from iddpm_tf import config as config_lib
from iddpm_tf.evaluation import results_log
from iddpm_tf.training import loop
from tests.trainers.conftest import SMALL

ROOT = pathlib.Path(__file__).parents[2]

# In a process of its own: the number of logical devices is fixed once TensorFlow has started.
SCRIPT = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import importlib
sys.exit(importlib.import_module("trainers." + sys.argv[1]).COMMAND.run(sys.argv[1:]))
"""


def on_two_devices(name, *flags):
  subprocess.run([sys.executable, "-c", SCRIPT, name, *flags], cwd=ROOT, check=True)


def test_two_devices_draw_the_images_of_one(run, model_dir, tmp_path):
  # Seven images in batches of four: a full batch, and one that does not divide by two.
  flags = [
    f"--model_dir={model_dir}",
    "--samplers=ancestral:5",
    "--num_samples=7",
    "--batch_size=4",
  ]
  assert run("sample", *flags, f"--output_dir={tmp_path / 'one'}").status == 0
  flags.append(f"--output_dir={tmp_path / 'two'}")
  on_two_devices("sample", *flags)
  one, two = (
    np.load(tmp_path / name / "ancestral_5_samples_7x8x8x1.npz")["arr_0"] for name in ("one", "two")
  )
  np.testing.assert_allclose(one.astype(int), two.astype(int), atol=1)


def test_a_run_on_two_devices_is_scored_as_one_device_scores_it(run, tmp_path):
  folder = tmp_path / "run"
  on_two_devices(
    "train",
    *SMALL,
    "--train_steps=4",
    f"--model_dir={folder}",
    "--eval_every=4",
    "--samplers=ddim:5",
    "--eval_scores=fid,nll",
    "--eval_samples=70",
    "--eval_examples=4",
    "--eval_nll_steps=5",
    "--best_score=fid",
    "--num_samples=2",
  )
  trained = results_log.read(folder)
  assert [line["ema"] for line in trained] == [0.9, 0.5]
  for line in trained:
    output = tmp_path / str(line["ema"])
    assert (
      run(
        "evaluate",
        f"--model_dir={folder}",
        f"--ema={line['ema']}",
        "--fid",
        "--samplers=ddim:5",
        "--num_samples=70",
        f"--output_dir={output}",
        "--best",
      ).status
      == 0
    )
    # Parts of a batch use other kernels, so that some values differ by one level.
    assert results_log.read(output)[0]["scores"]["fid"] == pytest.approx(
      line["scores"]["fid"], rel=1e-3
    )


@pytest.mark.parametrize(
  "batch_size, microbatches, size, words",
  [
    (32, 1, 16, ()),
    (32, 4, 4, ()),
    (32, 16, 1, ()),
    (9, 1, None, ("batch_size", "2", "9")),
    (9, 3, None, ("batch_size", "2", "9")),
    (12, 4, None, ("microbatches", "6", "2 replicas", "batch_size=12", "4")),
  ],
)
def test_a_batch_is_divided_evenly_or_refused(batch_size, microbatches, size, words):
  class Strategy:
    num_replicas_in_sync = 2

  options = config_lib.TrainingConfig(batch_size=batch_size, microbatches=microbatches)
  if size:
    assert loop.images_per_part(Strategy, options) == size
    return
  with pytest.raises(ValueError) as caught:
    loop.images_per_part(Strategy, options)
  assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)
